// The player: steps forward and back through a picture that was drawn beforehand (see coding.py for the data).
// It moves marks and knows nothing of memory. Used twice: as an anywidget (`render`), and in a saved page (`watch`).
const SVG = "http://www.w3.org/2000/svg";
const LAYERS = 6;
const ICONS = {
  first: "M4 3v10M13 3 6 8l7 5z", back: "M11 3 4 8l7 5z", next: "M5 3l7 5-7 5z", last: "M12 3v10M3 3l7 5-7 5z",
  decision: "M3 3l6 5-6 5zM12.5 5.5 15 8l-2.5 2.5L10 8z",
};

// ---- reading the data

const number = (text, otherwise) => (text ? parseInt(text, 36) : otherwise);

function unshrink(coded) {
  return coded.flatMap((kind) => {
    const words = kind.slice(0, -1);
    let numbers = [];
    return kind.at(-1).split(";").map((row) => {
      const given = row.split(",");
      numbers = words.slice(1).map((_, i) => given[i] || numbers[i]);
      return words[0] + numbers.map((number, i) => number + words[i + 1]).join("");
    });
  });
}

function unrun(text) {
  let before = 0;
  return text ? text.split(",").map((n) => (before = number(n, before))) : [];
}

function stretches(code, frames) {
  let at = 0, pose = [0, 0, 0, 0];
  return code.split(";").map((row) => {
    const [gap, length, ...fields] = row.split(",");
    const first = at + number(gap, 0);
    at = length ? first + number(length) : frames;
    pose = pose.map((old, i) => number(fields[i], old));
    return { first, end: at, x: pose[0] / 10, y: pose[1] / 10, body: pose[2], tip: pose[3] };
  });
}

function read(json) {
  const data = JSON.parse(json);
  data.texts = unshrink(data.texts);
  data.keys = unshrink(data.keys);
  data.tracks = data.marks.map((code) => stretches(code, data.frames));
  for (const name of ["alts", "sentences", "stack", "callers", "called"]) data[name] = unrun(data[name]);
  data.stacks = [[]];
  data.callers.forEach((caller, i) => data.stacks.push([...data.stacks[caller], data.called[i]]));
  return data;
}

function stretchAt(track, frame) {
  let low = 0, high = track.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (track[middle].end > frame) high = middle; else low = middle + 1;
  }
  return low < track.length && track[low].first <= frame ? track[low] : null;
}

// ---- making elements

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "text", "pattern", "defs"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children);
  return element;
}

function button(name, label, action, text = "") {
  const icon = make("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, make("path", { d: ICONS[name] }));
  const made = make("button", { type: "button", class: `mmviz-${name}`, "aria-label": label, title: label }, icon, text);
  made.addEventListener("click", () => made.getAttribute("aria-disabled") !== "true" && action());
  return made;
}

function pattern(tile, prefix) {
  const { id, size, fill, stroke, width, d } = tile;
  return make("pattern", { id: prefix + id, width: size, height: size, patternUnits: "userSpaceOnUse" },
    make("path", { fill, d: `M0 0H${size}V${size}H0Z` }),
    make("path", { d, stroke, "stroke-width": width, fill: "none", "stroke-linecap": "round" }));
}

// ---- the picture: one <g> for each key, touched only when its stretch changes

function painter(picture, data) {
  // Every widget brings a module of its own, and so its own counters: only the document can number all players of a page.
  document.mmvizPlayers = (document.mmvizPlayers || 0) + 1;
  const prefix = `mmviz${document.mmvizPlayers}-`;
  picture.append(make("defs", {}, ...data.hatches.map((tile) => pattern(tile, prefix))));
  const layers = Array.from({ length: LAYERS }, () => picture.appendChild(make("g")));
  const looks = data.looks.map((look) => ({ ...look, fill: look.fill.replace("url(#", `url(#${prefix}`) }));
  const nodes = [], shown = [];

  function part([look, text, x, y]) {
    if (x === undefined) return make("path", { d: data.texts[text], ...looks[look] });
    return make("text", { x, y, ...looks[look] }, data.texts[text]);
  }

  function place(node, layer) {
    const after = [...layer.childNodes].find((other) => other.rank > node.rank);
    layer.insertBefore(node, after || null);
  }

  function put(rank, stretch, before) {
    const node = (nodes[rank] ||= Object.assign(make("g", { class: "mmviz-mark", "data-key": data.keys[rank] }), { rank }));
    if (!stretch) return node.remove();
    const [depth, ...parts] = data.bodies[stretch.body];
    if (node.body !== stretch.body) node.replaceChildren(...parts.map(part));
    node.body = stretch.body;
    if (!before || before.x !== stretch.x || before.y !== stretch.y) {
      node.style.transform = `translate(${stretch.x}px,${stretch.y}px)`;
    }
    if (node.parentNode !== layers[depth]) place(node, layers[depth]);
  }

  return {
    paint(frame) {
      data.tracks.forEach((track, rank) => {
        const stretch = stretchAt(track, frame), before = shown[rank] || null;
        if (stretch === before) return;
        put(rank, stretch, before);
        shown[rank] = stretch;
      });
    },
    tip: (rank) => data.texts[shown[rank].tip],
    key: (rank) => data.keys[rank],
  };
}

// ---- the call outline, the tooltip

function outline(data) {
  const list = make("ol", { class: "mmviz-calls", "aria-label": "call stack" });
  const deepest = Math.max(...data.stacks.map((stack) => stack.length));
  list.style.minHeight = `${Math.min(deepest, 4) * 1.6}em`;
  list.hidden = !deepest;
  const line = (number, depth, all) => {
    const [called, args] = data.lines[number];
    const [symbol, file, url] = data.functions[called].map((text) => data.texts[text]);
    const name = url ? make("a", { href: url, target: "_blank", rel: "noopener", title: `${symbol} in the kernel source`,
      "data-lm-suppress-shortcuts": "true" }, symbol) : symbol;
    const item = make("li", { style: `padding-left:${depth * 1.25 + 0.75}em` },
      make("code", {}, name, make("span", { class: "mmviz-args" }, `(${data.texts[args]})`)), make("span", { class: "mmviz-file" }, file));
    if (depth === all.length - 1) item.setAttribute("aria-current", "step");
    return item;
  };
  let shown = -1;
  return {
    list,
    show(frame) {
      if (data.stack[frame] === shown) return;
      shown = data.stack[frame];
      list.replaceChildren(...data.stacks[shown].map(line));
    },
  };
}

function tooltip(frame, picture, paint) {
  const tip = make("div", { class: "mmviz-tip", role: "tooltip", hidden: "" });
  const hide = () => { tip.hidden = true; };
  frame.append(tip);
  picture.addEventListener("pointermove", (event) => {
    const mark = event.target.closest(".mmviz-mark");
    const text = mark ? paint.tip(mark.rank) : "";
    if (!text) return hide();
    const [head, ...rest] = text.split("\n");
    tip.replaceChildren(make("b", {}, head), ...rest.map((row) => make("div", {}, row)));
    tip.hidden = false;
    const box = frame.getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${event.clientY - box.top + 18}px`;
  });
  picture.addEventListener("pointerleave", hide);
  return hide;
}

// ---- the whole

function play(root, json, { start, moved = () => {}, picked = () => {} }) {
  const data = read(json), last = data.frames - 1, [width, height] = data.size;
  let frame = -1, wanted = 0, pending = 0;

  const first = button("first", "first step", () => go(0));
  const back = button("back", "one step back", () => go(wanted - 1));
  const next = button("next", "next step", () => go(wanted + 1));
  const end = button("last", "last step", () => go(last));
  const skip = button("decision", "next decision", () => go(decision()), "decision");
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": data.places ? "place" : "step" });
  const milestones = data.decisions.filter((at) => !data.boring.includes(at));
  const marks = milestones.map((at) => `M${at} 0V1`).join("");
  const ticks = make("svg", { class: "mmviz-ticks", viewBox: `0 0 ${last || 1} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    make("path", { d: marks || "M0 0", "vector-effect": "non-scaling-stroke" }));
  const counter = make("span", { class: "mmviz-count", "aria-hidden": "true" });
  const kind = make("span", { class: "mmviz-kind" });
  const say = make("span");
  const spoken = make("span", { class: "mmviz-spoken" });
  const sentence = make("p", { class: "mmviz-say", "aria-live": "polite", "aria-atomic": "true" }, spoken, kind, say);
  const room = `max(${height * 0.8}px,100vh - 16em)`; // a picture that is a little higher than the window shrinks
  const picture = make("svg", { class: "mmviz-picture", viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
    "aria-keyshortcuts": "ArrowLeft ArrowRight Home End PageUp PageDown", preserveAspectRatio: "xMinYMin",
    style: `max-width:${width}px;min-width:${width * 0.65}px;max-height:${room}` });
  const frameBox = make("div", { class: "mmviz-frame" }, make("div", { class: "mmviz-scroll" }, picture));
  const calls = outline(data);
  const bar = make("div", { class: "mmviz-bar", role: "toolbar", "aria-label": `steps of: ${data.title}` },
    first, back, next, end, ...(milestones.length ? [skip] : []), make("span", { class: "mmviz-slider" }, slider, ticks), counter);
  for (const control of [...bar.querySelectorAll("button, input"), picture]) control.dataset.lmSuppressShortcuts = "true";
  root.classList.add("mmviz-player");
  const heading = data.keys.includes("title") && !data.label ? "mmviz-title mmviz-spoken" : "mmviz-title"; // shown once
  if (Math.max(...data.sentences.map((at) => data.texts[at].length)) < 90) sentence.style.minHeight = "1.5em";
  root.append(make("div", { class: heading }, data.label || data.title), bar, sentence, frameBox, calls.list);

  const paint = painter(picture, data);
  const hideTip = tooltip(frameBox, picture, paint);
  const decision = () => milestones.find((at) => at > wanted);
  const able = (control, yes) => control.setAttribute("aria-disabled", yes ? "false" : "true");

  function show() {
    pending = 0;
    if (wanted === frame) return;
    root.classList.toggle("mmviz-glide", Math.abs(wanted - frame) === 1);
    frame = wanted;
    paint.paint(frame);
    calls.show(frame);
    const count = data.places ? data.places[frame] : `step ${frame} of ${last}`, alt = data.texts[data.alts[frame]];
    counter.textContent = count;
    spoken.textContent = `${count}. `;
    say.textContent = data.texts[data.sentences[frame]];
    kind.textContent = data.places ? "" : data.decisions.includes(frame) ? "decision" : frame ? "change" : "start";
    kind.dataset.kind = kind.textContent;
    slider.value = frame;
    slider.setAttribute("aria-valuetext", count);
    picture.setAttribute("aria-label", `${data.title}, ${count}. ${alt}`);
    root.dataset.step = frame;
    able(first, frame > 0); able(back, frame > 0); able(next, frame < last); able(end, frame < last);
    able(skip, decision() !== undefined);
    hideTip();
  }

  function go(to, tell = true) {
    if (!Number.isInteger(to)) return;
    wanted = Math.max(0, Math.min(last, to));
    if (!pending) { // the first move is drawn at once, and what else comes in the same frame at its end
      show();
      pending = requestAnimationFrame(show);
    }
    if (tell) moved(wanted);
  }

  const KEYS = {
    ArrowRight: () => wanted + 1, ArrowUp: () => wanted + 1, ArrowLeft: () => wanted - 1, ArrowDown: () => wanted - 1,
    Home: () => 0, End: () => last, PageUp: () => wanted - 10, PageDown: () => wanted + 10,
  };
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return hideTip();
    event.stopPropagation(); // the notebook and the slides have plans of their own for arrows and letters
    const move = KEYS[event.key];
    if (!move || event.target.closest("a")) return;
    event.preventDefault();
    go(move());
  });
  slider.addEventListener("input", () => go(+slider.value));
  picture.addEventListener("click", (event) => {
    const mark = event.target.closest(".mmviz-mark");
    if (!mark) return;
    const detail = { key: paint.key(mark.rank), step: frame };
    root.dispatchEvent(new CustomEvent("mmviz-pick", { bubbles: true, detail }));
    picked(detail);
  });

  wanted = Math.max(0, Math.min(last, start ?? data.start ?? 0));
  show();
  return { go };
}

function failed(root, error) {
  root.replaceChildren(make("pre", { class: "mmviz-error", role: "alert" }, `mmviz: ${error.message || error}`));
  throw error;
}

// ---- as a widget

function render({ model, el }) {
  let player;
  const build = () => {
    el.replaceChildren();
    const root = el.appendChild(make("div", { class: "mmviz" }));
    try {
      player = play(root, model.get("data"), {
        start: model.get("step"),
        moved(step) { model.set("step", step); model.save_changes(); }, // at once: else an older echo would win
        picked(detail) { model.send({ pick: detail }); },
      });
    } catch (error) { failed(root, error); }
  };
  const follow = () => player?.go(model.get("step"), false);
  model.on("change:data", build);
  model.on("change:step", follow);
  build();
  return () => { model.off("change:data", build); model.off("change:step", follow); };
}

// ---- in a page: every block of data becomes a player, now and later; pictures become alive for tooltips

function upgrade(block) {
  const data = block.querySelector(".mmviz-data"), film = block.querySelector(".mmviz-film");
  if (!data || block.upgraded) return;
  block.upgraded = true;
  const root = make("div");
  block.insertBefore(root, block.firstChild);
  try { play(root, data.textContent, {}); } catch (error) { failed(root, error); }
  film?.remove();
}

function open(figure) {
  const image = figure.querySelector("img[src^='data:image/svg+xml;base64,']");
  if (!image || figure.upgraded) return;
  figure.upgraded = true;
  const bytes = Uint8Array.from(atob(image.src.split(",")[1]), (c) => c.charCodeAt(0));
  const svg = new DOMParser().parseFromString(new TextDecoder().decode(bytes), "image/svg+xml").documentElement;
  svg.setAttribute("style", "max-width:100%;height:auto");
  image.replaceWith(svg);
}

function watch() {
  if (window.mmvizWatching) return;
  window.mmvizWatching = true;
  const look = () => {
    document.querySelectorAll(".mmviz-steps").forEach(upgrade);
    document.querySelectorAll(".mmviz-scene").forEach(open);
  };
  new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
  look();
}

export default { render };
