"""What a screen reader finds in every kind of widget: controls have names, pictures have words; motion can be off."""

from playwright.sync_api import expect

from .conftest import code_cell

RECORDED = """import mmviz as mv

machine = mv.toy(4)
with mv.record(machine) as rec:
    mv.alloc_pages(machine, mv.GFP_KERNEL, 3)
mv.Stepper(rec, mv.draw_free_area)"""
ADDRESS = """touched = mv.record_operation(mv.load_operations("PT_program"), 17)
mv.AddressPanel(touched.at(len(touched)))"""
WIDGETS = {
    "Stepper": RECORDED, "Quiz": 'mv.Quiz("merge", seed=1)', "Compare": 'mv.Compare("tail_rule")',
    "BuddyPanel": "mv.BuddyPanel()", "PolicyPanel": "mv.PolicyPanel()", "AddressPanel": ADDRESS,
    "MappingPanel": "mv.MappingPanel()", "GupPanel": "mv.GupPanel()", "KmapPanel": "mv.KmapPanel()",
    "SlabPanel": "mv.SlabPanel()",
}
CELLS = WIDGETS.values()
CONTROLS = ("button", "radio", "slider", "combobox", "spinbutton", "textbox", "img", "checkbox", "group", "toolbar")
NAMELESS = """root => [...root.querySelectorAll('button, input, select')].filter(one => one.offsetParent
    && !one.getAttribute('aria-label') && !one.labels?.length && !one.textContent.trim()).map(one => one.outerHTML)"""


def test_every_kind_of_widget_can_be_read(unrun, notebook):
    page = notebook(unrun)
    for number, kind in enumerate(WIDGETS):
        shown = code_cell(page, number).locator(".jp-OutputArea")
        expect(shown.locator("svg[role=img]").first).to_be_visible()
        tree = shown.aria_snapshot()
        unnamed = [row for row in tree.splitlines() if row.strip(" -:") in CONTROLS]
        assert unnamed == [] and shown.evaluate(NAMELESS) == [], (kind, tree)
        assert len(shown.locator("svg[role=img]").first.get_attribute("aria-label")) > 40, kind
        spoken = shown.locator("[aria-live=polite], [role=status]")
        assert spoken.count() >= 1, kind
        if kind != "Quiz":
            assert shown.locator(".mmviz-picture[tabindex='0']").count() >= 1, kind


def test_at_twice_the_size_nothing_is_lost(unrun, notebook):
    """200 % zoom of a 1300 pixel screen: 650 pixels are left; the picture scrolls in its frame, controls wrap."""
    page = notebook(unrun, view="doc", device_scale_factor=2, viewport={"width": 650, "height": 500})
    player = code_cell(page, 0).locator(".mmviz-player")
    expect(player).to_be_visible()
    for name in ("first step", "one step back", "next step", "last step", "next decision"):
        box = player.get_by_role("button", name=name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 650, name
    frame = player.locator(".mmviz-scroll")
    assert frame.evaluate("one => one.scrollWidth > one.clientWidth && getComputedStyle(one).overflowX === 'auto'")


def test_who_wants_no_motion_gets_none(unrun, notebook):
    page = notebook(unrun, reduced_motion="reduce")
    player = code_cell(page, 0).locator(".mmviz-player")
    player.locator(".mmviz-picture").focus()
    page.keyboard.press("ArrowRight")
    expect(player).to_have_attribute("data-step", "1")
    moving = player.locator(".mmviz-mark").first.evaluate("one => getComputedStyle(one).transitionDuration")
    assert moving in ("0s", "")
