// Keeps the page up to date: hears of cycles, asks for the cells that change, and lets the plots grow.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const body = document.body, link = byId("link"), clock = byId("clock");
  const GAP = 400; // ms between two updates
  const KEPT = 3000; // points of a time line before it is fetched anew, thinned

  // ---- cells: only what differs is replaced, so that nothing flickers and focus and scrolling stay --------

  htmx.defineExtension("cells", {
    isInlineSwap: (style) => style === "cells",
    handleSwap: (style, target, fragment) => {
      if (style !== "cells") return false;
      for (const made of [...fragment.querySelectorAll("[id]")]) {
        const shown = byId(made.id);
        if (!shown || shown.innerHTML === made.innerHTML) continue;
        const moved = shown.id === "moves" && shown.scrollTop > 0 ? shown.scrollHeight - shown.scrollTop : 0;
        const link = shown.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        shown.replaceChildren(...made.childNodes);
        if (moved) shown.scrollTop = shown.scrollHeight - moved;
        if (link) [...shown.querySelectorAll("a")].find((a) => a.getAttribute("href") === link)?.focus({ preventScroll: true });
      }
      return [];
    },
  });

  // ---- time ----------------------------------------------------------------------------------------------

  const state = { time: Number(clock.dataset.time), speed: Number(clock.dataset.speed), heard: performance.now() };
  const period = Number(clock.dataset.period);
  const tick = () => {
    const gone = Math.min((performance.now() - state.heard) / 1000 * state.speed, period);
    clock.textContent = plots.clock(state.time + gone) + (state.speed ? "" : " paused");
  };
  setInterval(() => { if (!document.hidden) tick(); }, 250);

  // ---- time lines ----------------------------------------------------------------------------------------

  const lines = byId("lines"), of = byId("lines-of"), back = byId("lines-back");
  const drawn = lines ? [...lines.querySelectorAll("[data-plot]")].map((box) => new plots.TimeLine(box, plots.shapes[box.dataset.plot])) : [];
  let data = null, asking = false, again = false;
  const server = () => (of ? of.value : lines.dataset.server);

  function grown(old, more) {
    const had = old.time.length, all = had + more.time.length;
    const longer = (a, b, empty) => {
      for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
        a[key] ??= Array(had).fill(empty);
        a[key].push(...(b[key] ?? Array(more.time.length).fill(empty)));
      }
    };
    for (const kind of ["demand", "latency", "cost"]) longer(old[kind], more[kind], null);
    longer(old.replicas, more.replicas, 0);
    old.pending.push(...more.pending);
    old.time.push(...more.time);
    old.number = more.number || old.number;
    const known = new Set(old.marks.map(String));
    old.marks.push(...more.marks.filter((m) => !known.has(String(m))));
    return all;
  }

  async function extend() {
    if (!lines) return;
    if (asking) { again = true; return; }
    asking = true;
    try {
      const whose = server();
      if (data && (data.of !== whose || data.time.length > KEPT)) data = null;
      const answer = await fetch(`/series?since=${data ? data.number : 0}&server=${encodeURIComponent(whose)}`);
      if (answer.ok && whose === server()) {
        const more = await answer.json();
        if (data) grown(data, more); else data = { ...more, of: whose };
        draw();
      }
    } catch { /* the link says that nothing is heard */ }
    asking = false;
    if (again) { again = false; extend(); }
  }
  const draw = () => { if (data?.time.length) for (const line of drawn) line.show(data, Number(back.value)); };
  of?.addEventListener("change", extend);
  back?.addEventListener("change", draw);

  // ---- curves --------------------------------------------------------------------------------------------

  const curves = byId("curves");
  const charts = [];
  async function fetchCurves() {
    const found = await (await fetch(`/curves?name=${encodeURIComponent(curves.dataset.server)}`)).json();
    byId("curves-of").textContent = found ? `one replica on ${found.accelerator}, as the decision sees it` : "it has no load or no replica to draw them of";
    draws(found?.charts ?? [], curves);
  }
  function draws(found, place) {
    const boxes = found.map((chart) => {
      const figure = place.appendChild(document.createElement("figure"));
      figure.appendChild(document.createElement("figcaption")).textContent = `${chart.title}, ${chart.y_label}`;
      return figure.appendChild(document.createElement("div"));
    });
    charts.push(...boxes.map((box, i) => [plots.curve(found[i], box), box]));
  }
  async function fetchKnown() {
    const place = byId("known-plots");
    draws(await (await fetch(`/known?name=${encodeURIComponent(place.dataset.server)}`)).json(), place);
  }
  if (curves) { fetchCurves(); fetchKnown(); }

  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      for (const line of drawn) line.resize();
      for (const [plot, box] of charts) plot.setSize({ width: box.clientWidth, height: 190 });
    }, 150);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const line of drawn) line.drawn = ""; draw(); });

  // ---- news ----------------------------------------------------------------------------------------------

  let due = 0;
  let asked = -GAP; // when the page was last brought up to date
  function fresh() {
    if (due || document.hidden) return;
    due = setTimeout(() => {
      due = 0; asked = performance.now();
      htmx.trigger(body, "fresh");
      extend();
    }, Math.max(0, asked + GAP - performance.now()));
  }
  function heard(event) {
    const news = JSON.parse(event.data);
    if (news.names !== body.dataset.names) { location.reload(); return; }
    if (data && news.number < data.number) data = null; // it was started anew
    if (news.time !== state.time || news.speed !== state.speed) state.heard = performance.now();
    state.time = news.time; state.speed = news.speed;
    for (const button of document.querySelectorAll("#speed button")) button.setAttribute("aria-pressed", String(Number(button.value) === news.speed));
    tick();
    fresh();
  }
  const told = (name, text) => { link.dataset.state = name; if (link.textContent !== text) link.textContent = text; };
  const source = new EventSource("/events");
  source.addEventListener("cycle", heard);
  source.addEventListener("open", () => told("live", "live"));
  source.addEventListener("error", () => told("lost", source.readyState === EventSource.CLOSED ? "gone: load the page again" : "reconnecting"));
  addEventListener("pagehide", () => source.close());
  document.addEventListener("visibilitychange", fresh);
  addEventListener("DOMContentLoaded", extend);
})();
