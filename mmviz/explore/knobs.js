// A form of native controls: each in its <label>, so it has a name, a place in the Tab order, and keys of its own.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children);
  return element;
}

const SILENT = "The kernel has not answered yet. If you have come back to this lesson, run this cell again.";
const whole = (text, knob) => Math.max(knob.least, Math.min(knob.most, Math.round(+text)));

// Each kind: how it is made, how it shows a value, how it reads one (undefined: nothing to be read yet).
const KINDS = {
  slider(knob) {
    const places = knob.options.length ? knob.options : null;
    const shown = make("output");
    const range = places ? { min: 0, max: places.length - 1, step: 1 } : { min: knob.least, max: knob.most, step: knob.step };
    const control = make("input", { type: "range", "aria-label": knob.label, ...range });
    return {
      control, parts: [control, shown],
      show(value) {
        control.value = places ? places.indexOf(value) : value;
        const unit = value === 1 ? knob.unit.replace(/s$/, "") : knob.unit;
        shown.textContent = `${value}${unit && " " + unit}`;
        control.setAttribute("aria-valuetext", shown.textContent);
      },
      read: () => (places ? places[+control.value] : +control.value),
    };
  },
  number(knob) {
    const control = make("input", { type: "number", min: knob.least, max: knob.most, step: 1, "aria-label": knob.label });
    return {
      control, parts: [control], show(value) { if (control.value === "" || +control.value !== value) control.value = value; },
      read: () => (control.value === "" ? undefined : whole(control.value, knob)),
    };
  },
  menu(knob) {
    const control = make("select", { "aria-label": knob.label }, ...knob.options.map((word) => make("option", {}, word)));
    return { control, parts: [control], show(value) { control.value = value; }, read: () => control.value };
  },
};

function render({ model, el }) {
  const root = make("div", { class: "mmviz-knobs", role: "group", "aria-label": model.get("title") });
  const knobs = model.get("spec").map((knob) => ({ ...KINDS[knob.kind](knob), name: knob.name, label: knob.label, needs: knob.needs }));
  let waiting = 0;
  const tell = (name, value) => {
    model.set(name, value);
    model.save_changes();
    clearTimeout(waiting);
    waiting = setTimeout(() => { problem.textContent = SILENT; }, 5000);
  };
  for (const knob of knobs) {
    knob.control.addEventListener("input", () => {
      const value = knob.read();
      if (value === undefined) return;
      knob.show(value);
      tell("values", { ...model.get("values"), [knob.name]: value });
    });
    root.append(make("label", { class: "mmviz-knob" }, make("span", {}, knob.label), make("span", {}, ...knob.parts)));
  }

  const reset = make("button", { type: "button" }, "reset");
  reset.addEventListener("click", () => tell("values", { ...model.get("start") }));
  const line = make("textarea", { rows: 1, spellcheck: "false", "aria-label": "this setting as text" });
  line.addEventListener("focus", () => line.select());
  let taken = "";
  const take = () => { taken = line.value; tell("typed", taken); };
  line.addEventListener("change", () => line.value !== taken && take());
  line.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // one line of text, however many it takes on the screen
    take();
  });
  const problem = make("p", { class: "mmviz-problem", role: "alert" });
  root.append(make("label", { class: "mmviz-line" }, make("span", {}, "this setting as text"), line), reset, problem);

  for (const control of root.querySelectorAll("input, textarea, select, button")) control.dataset.lmSuppressShortcuts = "true";
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation(); // the notebook has plans for letters
  });

  const showValues = () => knobs.forEach((knob) => {
    const values = model.get("values");
    knob.show(values[knob.name]);
    if (knob.needs) knob.control.disabled = !values[knob.needs];
  });
  const showLine = () => {
    line.value = model.get("line");
    line.rows = Math.ceil(line.value.length / 85);
  };
  const showProblem = () => { problem.textContent = model.get("problem"); };
  const heard = () => { clearTimeout(waiting); showProblem(); };
  model.on("change:heard", heard);
  const shown = { values: showValues, line: showLine, problem: showProblem };
  for (const name in shown) { shown[name](); model.on(`change:${name}`, shown[name]); }
  el.replaceChildren(root);
  return () => {
    clearTimeout(waiting);
    model.off("change:heard", heard);
    for (const name in shown) model.off(`change:${name}`, shown[name]);
  };
}

export default { render };
