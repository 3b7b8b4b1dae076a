// A question: a picture whose marks can be clicked, a form of radio buttons, and the reply that Python gives.
// What is right is not here: it comes with the reply.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children);
  return element;
}

const LETTERS = "abcdef";
const SILENT = "The kernel has not answered yet. If you have come back to this lesson, run this cell, and answer then.";
const control = (tag, attributes, ...children) => make(tag, { ...attributes, "data-lm-suppress-shortcuts": "true" }, ...children);

// Every view needs names of its own: radio buttons of one name exclude each other, and patterns are found by id.
function number() {
  document.mmvizQuizzes = (document.mmvizQuizzes || 0) + 1;
  return document.mmvizQuizzes;
}

function drawn(text, view) {
  if (!text) return make("span");
  const own = text.replaceAll("mmvizquiz-", `mmvizquiz${view}-`);
  return new DOMParser().parseFromString(own, "image/svg+xml").documentElement;
}

function option(label, i, name) {
  const radio = control("input", { type: "radio", name, value: i });
  const reason = make("span", { class: "mmviz-reason" });
  const line = make("label", {}, radio, make("span", { class: "mmviz-letter" }, `${LETTERS[i]}. `), make("span", {}, label));
  return { radio, reason, row: make("div", { class: "mmviz-option" }, line, reason) };
}

// A sentence with its kernel function, "... (mm/page_alloc.c:expand)", in code type.
function sentence(text) {
  return text.split(/([\w/]+\.[ch]:\w+)/).map((part, i) => (i % 2 ? make("code", {}, part) : part));
}

// The reasons stand at the options, for the eye; a screen reader hears the two that count with the verdict.
function spoken({ options }, { chosen, right, reasons }) {
  const mine = chosen === null || chosen === right ? "" : ` ${options[chosen]}: ${reasons[chosen]}.`;
  return make("span", { class: "mmviz-spoken" }, `${mine} ${options[right]}: ${reasons[right]}.`);
}

function ask(root, model) {
  const asked = JSON.parse(model.get("asked")), view = number();
  const options = asked.options.map((label, i) => option(label, i, `mmviz-quiz-${view}`));
  const picture = drawn(asked.picture, view);
  const answer = control("button", { type: "submit", "aria-disabled": "true" }, "Answer");
  const again = control("button", { type: "button", hidden: "" }, "New question");
  const offer = make("span"), run = control("button", { type: "button" }, "Run it");
  const trial = make("p", { class: "mmviz-trial", hidden: "" }, offer, " ", run);
  const verdict = make("p", { class: "mmviz-verdict", role: "status", "aria-live": "polite", tabindex: -1 });
  const score = make("span", { class: "mmviz-score" });
  const code = control("input", { type: "text", readonly: "", size: 40 });
  const line = make("label", { hidden: "" }, "Code to hand in ", code);
  const fields = make("fieldset", {}, make("legend", {}, asked.text), ...options.map(({ row }) => row));
  const form = make("form", {}, fields, make("div", { class: "mmviz-quiz-bar" }, answer, again, score, line), verdict, trial);
  root.replaceChildren(make("div", { class: "mmviz-quiz-scroll" }, picture), form);
  root.classList.toggle("mmviz-asking", asked.below && model.get("said") === ""); // the next cell is the answer: room before it

  const choice = () => options.findIndex(({ radio }) => radio.checked);
  const send = (wish) => model.send({ number: asked.number, ...wish });
  const closed = () => model.get("said") !== "";

  function choose(i) {
    if (closed()) return;
    options[i].radio.checked = true;
    options[i].radio.focus();
    mark();
  }
  function mark() {
    answer.setAttribute("aria-disabled", choice() < 0 ? "true" : "false");
    for (const one of picture.querySelectorAll("[data-option]")) {
      one.classList.toggle("mmviz-chosen", +one.dataset.option === choice());
    }
  }
  function reply() {
    if (!closed()) return;
    const said = JSON.parse(model.get("said")), had = root.contains(document.activeElement);
    options.forEach(({ radio, reason, row }, i) => {
      radio.disabled = true;
      radio.checked = i === said.chosen;
      row.dataset.state = i === said.right ? "right" : "wrong";
      const sign = i === said.right ? "Right. " : i === said.chosen ? "Your answer, not right. " : "Not right. ";
      reason.replaceChildren(make("b", {}, sign), ...sentence(said.reasons[i]));
    });
    root.classList.remove("mmviz-asking");
    mark();
    verdict.replaceChildren(said.words, spoken(asked, said));
    score.textContent = said.score;
    code.value = said.code;
    answer.hidden = true;
    again.hidden = !said.more;
    line.hidden = false;
    offer.textContent = `${said.offer}.`;
    trial.hidden = !said.offer;
    if (had) (said.more ? again : verdict).focus();
  }

  form.addEventListener("change", mark);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (closed()) return;
    if (choice() < 0) verdict.textContent = "Choose an option first.";
    else {
      send({ answer: choice() });
      setTimeout(() => { if (!closed()) verdict.textContent = SILENT; }, 3000);
    }
  });
  again.addEventListener("click", () => send({ again: true }));
  run.addEventListener("click", () => {
    run.setAttribute("aria-disabled", "true");
    run.textContent = "It runs ...";
    send({ experiment: true });
  });
  code.addEventListener("focus", () => code.select());
  picture.addEventListener("click", (event) => {
    const one = event.target.closest("[data-option]");
    if (one) choose(+one.dataset.option);
  });
  reply();
  return { reply, focus: () => options[0].radio.focus() };
}

function render({ model, el }) {
  const root = el.appendChild(make("div", { class: "mmviz-quiz" }));
  let shown;
  const build = () => {
    const had = root.contains(document.activeElement);
    shown = ask(root, model);
    if (had) shown.focus();
  };
  const follow = () => shown.reply();
  const place = el.appendChild(make("div", { class: "mmviz-experiment", role: "region", "aria-label": "experiment", hidden: "" }));
  let view;
  const experiment = async () => { // the Compare is a widget of its own
    const name = model.get("shown");
    view?.remove();
    view = undefined;
    place.replaceChildren();
    place.hidden = !name;
    if (!name) return;
    const manager = model.widget_manager, child = await manager.get_model(name.slice("IPY_MODEL_".length));
    view = await manager.create_view(child);
    place.replaceChildren(view.el);
    root.querySelector(".mmviz-trial button").hidden = true;
  };
  root.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook has plans of its own for keys
  model.on("change:asked", build);
  model.on("change:said", follow);
  model.on("change:shown", experiment);
  build();
  experiment();
  return () => { model.off("change:asked", build); model.off("change:said", follow); model.off("change:shown", experiment); };
}

export default { render };
