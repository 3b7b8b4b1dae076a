"""The player: pictures on a slider, each with a sentence.

    Stepper   the steps of a recording               a Story says what is on the slider, and what is kept of it
    Places    whatever else one can move along

The same data serves three places: live in JupyterLab (an anywidget), in a saved page or an offline deck (the player
that `use()` brings), and as a film strip where no script may run. What a notebook keeps is the last two.
"""
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import anywidget
import traitlets

from ..draw.scene import Scene
from . import page
from .page import HERE, block, saved_too

MOST_BYTES = 38_500  # of the html as it stands in a notebook; the rest of 40 KB is for what is put around it


class Story(NamedTuple):
    """All that a player shows.

    Attributes
    ----------
    data : dict
        The pictures as `Encoder` writes them for player.js; with them "label" and "start".
    last : int
        The last place of the slider; the first is 0.
    stills : list of str
        The film strip, in order.
    scene : Scene
        The key picture.
    whole : bool
        The film strip stays whole, however large it is.
    """

    data: dict[str, Any]
    last: int
    stills: list[str]
    scene: Scene
    whole: bool = False


def still(scene: Scene, number: int, last: int, sentence: str) -> str:
    """One picture of a film strip."""
    return page.still(scene, f"Step {number} of {last}.", sentence)


def place(at: int, last: int) -> int:
    """A place 0 to `last`; negative ones count from the end."""
    if not -last - 1 <= at <= last:
        raise ValueError(f"step must be 0 to {last}, got {at}")
    return at % (last + 1)


class Player(anywidget.AnyWidget):
    """Pictures, one at a time, forward and back.

    Parameters
    ----------
    story : Story
        What it shows.

    Attributes
    ----------
    scene : Scene
        Its key picture, as in ``player.scene.savefig("step.pdf")``.
    """

    _esm = HERE / "player.js"
    _css = HERE / "player.css"
    data = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.tell(story)

    def tell(self, story: Story) -> None:
        """Take another story; what stands on the screen changes with it."""
        self._story, self.scene = story, story.scene
        with self.hold_sync():
            self.step = story.data["start"]
            self.data = json.dumps(story.data, separators=(",", ":"), ensure_ascii=False)

    def __len__(self) -> int:
        return self._story.last

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} step{'s' * (len(self) != 1)})"

    @property
    def label(self) -> str:
        """The heading."""
        return str(self._story.data["label"])

    def on_pick(self, callback: Callable[[str, int], object]) -> None:
        """Call ``callback(key, step)`` when a mark is clicked in the live widget."""
        def heard(widget: Any, content: dict[str, Any], buffers: Any) -> None:
            if "pick" in content:
                callback(content["pick"]["key"], content["pick"]["step"])
        self.on_msg(heard)

    def html(self) -> str:
        """The player for a page without a kernel: data, and a film strip as large as the output may be."""
        stills = self._story.stills[:]
        while not self._story.whole and len(stills) > 1 and len(json.dumps(block(self.data, stills))) > MOST_BYTES:
            del stills[len(stills) - 2]  # the middle goes first, then the start; the end stays
        return block(self.data, stills)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return saved_too(super()._repr_mimebundle_(**kwargs), repr(self), self.html())
