"use strict";
(() => {
  const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+*";
  const form = document.querySelector(".controls form");
  for (const folded of document.querySelectorAll("details.attribution")) unfold(folded);
  const articles = [...document.querySelectorAll("article.video")].map(read);
  document.body.classList.add("scripted");
  // On wide screens, where these have no title to open them by, they stand open; a tablet that is turned becomes one.
  const wide = matchMedia("(min-width: 60rem)");
  const fold = () => { for (const part of document.querySelectorAll(".controls, .legends")) part.open = wide.matches; };
  wide.addEventListener("change", fold);
  fold();

  // Without this script each attribution after the first is folded under its title; with it they are chosen above.
  function unfold(folded) {
    const [title, ...rest] = folded.children, attribution = document.createElement("div");
    Object.assign(attribution, { className: folded.className, hidden: true });
    attribution.dataset.attribution = folded.dataset.attribution;
    attribution.append(...title.children, ...rest);
    folded.replaceWith(attribution);
  }

  // One video: its elements, found when they are first needed.
  function read(root) {
    const once = (find) => { let found; return () => (found ??= find()); };
    return {
      root,
      data: once(() => JSON.parse(root.querySelector("script.data").textContent)),
      film: root.querySelector(".film"),
      strip: root.querySelector(".strip"),
      status: root.querySelector(".status"),
      frames: once(() => [...root.querySelectorAll(".film .frame")]),
      nodes: once(() => [...root.querySelectorAll(".film .node")].sort((a, b) => a.dataset.node - b.dataset.node)),
      edges: once(() => [...root.querySelectorAll(".edges path")].map((line) => ({
        line, rank: +line.dataset.rank, share: +line.dataset.weight / (+line.parentElement.dataset.strongest || 1),
      }))),
      chosen: null,  // {section, word}: pinned until it is chosen again, another is, or Escape; no word: the whole caption
      shown: "",
    };
  }

  // ---- what is drawn
  function draw() {
    for (const [name, unit] of [["k", ""], ["threshold", " %"]]) {
      if (form[name]) form.querySelector(`[data-of="${name}"]`).value = form[name].value + unit;
    }
    for (const box of form.querySelectorAll("input[type=checkbox]")) document.body.classList.toggle("off-" + box.name, !box.checked);
    if (!form.k) return;  // a page without edges has no sliders
    const k = +form.k.value, threshold = +form.threshold.value / 100;
    for (const article of articles) {
      for (const { line, rank, share } of article.edges()) {
        const hide = rank > k || share < threshold - 1e-9;
        if (line.hasAttribute("hidden") !== hide) line.toggleAttribute("hidden", hide);
      }
    }
  }

  function zoom() {
    if (!form) return;  // no frame on the page
    for (const { film, strip } of articles) {
      if (!film) continue;
      const width = +film.dataset.width, height = +film.dataset.height;
      const scale = { fit: Math.min(1, (strip.clientWidth - 4) / width), medium: 0.75, large: 1.5 }[form.zoom.value];
      film.dataset.zoom = form.zoom.value;
      film.setAttribute("width", Math.round(width * scale));
      film.setAttribute("height", Math.round(height * scale));
      film.style.setProperty("--u", form.zoom.value === "large" ? 1 : Math.min(2.3, 1 / scale));
    }
  }

  let waiting = 0;
  form?.addEventListener("input", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => { draw(); zoom(); }); });
  form?.addEventListener("submit", (event) => event.preventDefault());
  // What is folded has no width: it is known once the analysis is open.
  document.addEventListener("toggle", (event) => { if (event.target.matches(".analysis") && form?.zoom.value === "fit") zoom(); }, true);
  addEventListener("resize", () => { if (form?.zoom.value === "fit") zoom(); });

  // ---- what lights up
  const level = (text, index) => { const l = text ? LEVELS.indexOf(text[index]) : -1; return l < 0 ? null : l / 63; };
  const percent = (share) => (share === null ? "no data" : share > 0 && share < 0.005 ? "< 1\u00a0%" : Math.round(100 * share) + "\u00a0%");
  const attributionOf = (section) => { const radio = section.querySelector(".attributions input:checked"); return radio ? +radio.value : 0; };

  function light(article, section, word, scroll) {
    const { root, data } = article;
    const model = section ? +section.dataset.model : null;
    const key = section ? [model, word, attributionOf(section)].join() : "";
    if (key === article.shown) return;
    article.shown = key;
    for (const e of root.querySelectorAll(".word.lit, .thumb.lit")) e.classList.remove("lit");
    const attribution = section && data().captions[model].attributions[attributionOf(section)];
    if (section && word !== null) for (const e of section.querySelectorAll(`[data-word="${word}"]`)) {
      e.classList.add("lit");
      if (scroll === "all" && e.matches(".thumb, .tracks th")) show(e.closest(".row, .scroll"), e);
    }
    if (!article.film) return;
    const row = attribution ? (attribution.whole ? 0 : word) : null;
    const shares = attribution && attribution.frames && row !== null ? attribution.frames[row] : null;
    const best = shares ? shares.reduce((b, s, i) => (s !== null && (b < 0 || s > shares[b]) ? i : b), -1) : -1;
    const most = best < 0 ? 0 : shares[best];
    const even = Boolean(shares) && shares.length > 1 && shares.every((share) => share !== null && share > 0.97 * most);
    article.frames().forEach((frame, i) => {
      const share = shares ? shares[i] : null, part = share && most ? share / most : 0;
      const bar = frame.querySelector(".bar"), veil = frame.querySelector(".veil"), heat = frame.querySelector("image.heat");
      frame.classList.toggle("lit", Boolean(shares) && part >= 0.999 && !even);
      frame.classList.toggle("missing", Boolean(shares) && share === null);
      frame.querySelector(".share").textContent = shares ? percent(share) : "";
      bar.setAttribute("width", Math.round(part * frame.querySelector(".rail").width.baseVal.value));
      veil.setAttribute("opacity", shares ? (0.62 * (1 - part)).toFixed(2) : 0);
      const map = attribution && attribution.maps && row !== null ? attribution.maps[row][i] : "";
      heat.toggleAttribute("hidden", !map);
      if (map) heat.setAttribute("href", "data:image/png;base64," + map);
    });
    const nodes = attribution && attribution.nodes && row !== null ? attribution.nodes[row] : null;
    const ranked = [];
    article.nodes().forEach((node, i) => {
      const l = nodes ? level(nodes, i) : null, rect = node.querySelector("rect");
      const lit = l !== null && l >= 0.35;
      node.classList.toggle("lit", lit);
      if (!nodes) { node.removeAttribute("opacity"); rect.removeAttribute("fill-opacity"); return; }
      node.setAttribute("opacity", (0.4 + 0.6 * (l ?? 0)).toFixed(2));
      rect.setAttribute("fill-opacity", lit ? (0.45 * l).toFixed(2) : 0);
      if (l) ranked.push([l, node]);
    });
    const importance = attribution && attribution.edges && row !== null ? attribution.edges[row] : null;
    article.edges().forEach(({ line }, i) => {
      const l = importance ? level(importance, i) : null;
      if (l === null) { line.style.removeProperty("opacity"); line.style.removeProperty("stroke-width"); }
      else { line.style.setProperty("opacity", 0.12 + 0.88 * l); line.style.setProperty("stroke-width", 0.6 + 3.4 * l); }
    });
    describe(article, section, word, attribution, row, shares, best, even, ranked);
    if (scroll && best >= 0) show(article.strip, article.frames()[best]);
  }

  // The same in words, for those who do not see it.
  function describe(article, section, word, attribution, row, shares, best, even, ranked) {
    if (!section) { say(article.status, "No word is chosen: point at a word, or choose one and step with the arrow keys."); return; }
    const button = section.querySelector(`.word[data-word="${word}"]`);
    const parts = [];
    if (even) parts.push("all frames about alike");
    else if (best >= 0) parts.push(`most in ${article.frames()[best].querySelector(".number").textContent} (${percent(shares[best])})`);
    ranked.sort((a, b) => b[0] - a[0]);
    const top = attribution && attribution.top ? attribution.top[row] : 0;
    const tracks = attribution && attribution.tracks && row !== null ? attribution.tracks[row] : "";
    const named = ranked.slice(0, 3).map(([l, node]) => {
      const name = node.querySelector("tspan"), frame = article.frames()[node.dataset.frame].querySelector(".number").firstChild;
      return `${(name && name.textContent) || "object"} in ${frame.textContent} (${percent(l * top)})`;
    });
    if (tracks) parts.push("tracks: " + tracks);
    else if (named.length) parts.push("boxes: " + named.join(", "));
    const name = (attribution && attribution.whole) || !button ? "The whole caption" : `“${button.querySelector("bdi").textContent}”`;
    say(article.status, `${name}: ${parts.join("; ") || "what it attends to is not known"}`);
  }

  // Its place never shrinks: the words below would slip from under the pointer, and back, without end.
  function say(status, text) {
    const height = () => status.getBoundingClientRect().height, before = height();
    status.textContent = text;
    status.style.minHeight = Math.max(before, height()) + "px";
  }

  // Scrolls a row sideways, and only the row, until the element is in its middle.
  function show(strip, frame) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const box = frame.getBoundingClientRect(), window = strip.getBoundingClientRect();
    if (box.left >= window.left && box.right <= window.right) return;
    strip.scrollBy({ left: box.left + box.width / 2 - window.left - window.width / 2, behavior: calm ? "auto" : "smooth" });
  }

  function choose(article, section, word) {
    article.chosen = section ? { section, word } : null;
    for (const e of article.root.querySelectorAll(".word")) {
      e.setAttribute("aria-pressed", String(Boolean(section) && section.contains(e) && +e.dataset.word === word));
    }
    light(article, section, word, "all");
  }

  const back = (article) => light(article, article.chosen && article.chosen.section, article.chosen && article.chosen.word, "");

  for (const article of articles) {
    for (const section of article.root.querySelectorAll(".model-caption")) {
      const words = [...section.querySelectorAll(".word")];
      const reach = (word) => words.forEach((w, i) => { w.tabIndex = i === word ? 0 : -1; });
      reach(0);
      const touched = (event) => event.target.closest(".word, .thumb[data-word], .tracks [data-word]");
      section.addEventListener("pointerover", (event) => {
        const e = touched(event);
        // A preview: what is pinned stays.
        if (e && event.pointerType === "mouse" && !article.chosen) light(article, section, +e.dataset.word, "strip");
      });
      section.addEventListener("pointerout", (event) => { if (touched(event)) back(article); });
      let before = null;
      section.addEventListener("pointerdown", () => { before = article.chosen; });
      section.addEventListener("click", (event) => {
        const e = touched(event);
        if (!e) return;
        const word = +e.dataset.word, was = event.detail ? before : article.chosen;
        reach(word);
        if (was && was.section === section && was.word === word) choose(article, null, null);
        else choose(article, section, word);
      });
      section.addEventListener("focusin", (event) => {
        const e = event.target.closest(".word");
        if (e && e.matches(":focus-visible")) { reach(+e.dataset.word); choose(article, section, +e.dataset.word); }
      });
      section.addEventListener("keydown", (event) => {
        const e = event.target.closest(".word");
        if (!e) return;
        const at = +e.dataset.word, last = words.length - 1;
        const to = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        reach(to);
        words[to].focus();
        choose(article, section, to);
      });
      let kept = null;  // the word to go back to from an attribution of the whole caption
      section.addEventListener("change", (event) => {
        if (!event.target.closest(".attributions")) return;
        const attribution = attributionOf(section), { chosen } = article;
        if (chosen && chosen.section === section && chosen.word !== null) kept = chosen.word;
        for (const e of section.querySelectorAll(".attribution[data-attribution]")) e.hidden = +e.dataset.attribution !== attribution;
        if (!chosen) kept = null;
        if (article.data().captions[+section.dataset.model].attributions[attribution].whole) choose(article, section, null);
        else if (chosen && (kept !== null || chosen.section !== section)) choose(article, section, kept ?? 0);
        else choose(article, null, null);
      });
    }
  }
  addEventListener("resize", () => { for (const { status } of articles) status?.style.removeProperty("min-height"); });
  // Wherever the focus is: a click on a word does not move it in every browser.
  addEventListener("keydown", (event) => { if (event.key === "Escape") for (const article of articles) if (article.chosen) choose(article, null, null); });
  zoom();
})();
