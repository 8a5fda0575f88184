// Plots by uPlot: time lines that grow, and the curves of one server.
"use strict";
const plots = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = () => Array.from({ length: 10 }, (_, i) => css(`--c${i}`));
  const round = (v) => (v == null ? "-" : Number(v.toPrecision(4)).toLocaleString("en"));
  const axis = (more = {}) => ({
    stroke: css("--soft"), font: "11px system-ui, sans-serif", labelFont: "11px system-ui, sans-serif", labelSize: 14, gap: 3,
    grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1, size: 4 }, ...more,
  });
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  const clock = (s) => {
    const days = Math.floor(s / 86400), time = `${two(s % 86400 / 3600)}:${two(s % 3600 / 60)}:${two(s % 60)}`;
    return s >= 1e9 ? `${time} UTC` : days ? `${days} d ${time}` : time;
  };
  const steps = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const sync = uPlot.sync("time");

  // Vertical lines with a word at their top.
  const marking = (marks) => (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = css("--soft");
    ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const [at, label] of marks()) {
      const x = Math.round(u.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      if (label) ctx.fillText(label, x + 4, bbox.top + 10 * devicePixelRatio);
    }
    ctx.restore();
  };

  // One time line. `shape(series)` gives { names, columns, ...options } of what is drawn.
  class TimeLine {
    constructor(box, shape) { this.box = box; this.shape = shape; this.drawn = ""; this.marks = []; }
    show(data, from) {
      const made = this.shape(data);
      this.marks = data.marks;
      const keys = made.lines.map((l) => l.label).join("\n");
      const columns = [data.time, ...made.lines.map((l) => l.values)];
      if (keys !== this.drawn || !this.plot) {
        this.plot?.destroy();
        this.plot = new uPlot(this.options(made), columns, this.box);
        this.drawn = keys;
        this.plot.over.addEventListener("mouseleave", () => setTimeout(() => this.rest(), 0));
      } else this.plot.setData(columns, false);
      const end = data.time.at(-1) ?? 1;
      this.plot.setScale("x", { min: Math.max(data.time[0] ?? 0, end - from), max: Math.max(end, (data.time[0] ?? 0) + 60) });
      this.rest();
    }
    // Without a pointer the legend tells the newest.
    rest() { if (this.plot && !(this.plot.cursor.left >= 0)) this.plot.setLegend({ idx: this.plot.data[0].length - 1 }); }
    options(made) {
      const second = made.lines.some((l) => l.scale === "y2");
      const side = axis({ scale: "y2", side: 1, size: 42, grid: { show: false } });
      return {
        width: this.box.clientWidth, height: 170, padding: [8, second ? 0 : 12, 0, 0],
        cursor: { sync: { key: sync.key }, drag: { x: false, y: false }, points: { size: 5 } },
        legend: { live: true },
        scales: {
          x: { time: false },
          y: { range: (_, lo, hi) => [0, Math.max(hi ?? 0, made.least ?? 0) * 1.08 || 1] },
          y2: { range: (_, lo, hi) => [0, (hi ?? 0) * 1.15 || 1] },
        },
        axes: [
          axis({ incrs: steps, space: 60, size: 26, values: (_, at) => at.map((s) => clock(s).replace(/:00( UTC)?$/, "")) }),
          axis({ size: 42 }), ...(second ? [side] : []),
        ],
        bands: made.bands,
        series: [
          { label: "at", value: (_, v) => (v == null ? "-" : clock(v)) },
          ...made.lines.map((l) => ({
            label: l.label, scale: l.scale ?? "y", stroke: l.stroke, fill: l.fill, width: l.width ?? 1.5, dash: l.dash, spanGaps: false,
            points: { show: false }, paths: l.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
            value: (u, v, s, i) => round(l.told && i != null ? l.told[i] : v),
          })),
        ],
        hooks: { draw: [marking(() => this.marks.map(([at]) => [at, ""]))] },
      };
    }
    resize() { this.plot?.setSize({ width: this.box.clientWidth, height: 170 }); }
  }

  const shapes = {
    demand: (data) => ({ lines: [
      { label: "measured", values: data.demand["measured"], stroke: css("--c0"), fill: css("--c0") + "22" },
      { label: "provided for", values: data.demand["provided for"], stroke: css("--c1"), stepped: true },
    ] }),
    replicas: (data) => {
      // Stacked: each line is the sum of those below it, the highest drawn first.
      const names = Object.keys(data.replicas).filter((n) => data.replicas[n].some((v) => v));
      const colours = palette();
      const sum = data.time.map(() => 0);
      const stacked = names.map((name, i) => {
        const told = data.replicas[name];
        told.forEach((v, k) => { sum[k] += v ?? 0; });
        const colour = colours[i % colours.length];
        return { label: name, values: [...sum], told, stroke: colour, fill: i ? undefined : colour + "88", band: colour + "88", width: 1, stepped: true };
      });
      const pending = { label: "starting", values: sum.map((v, k) => v + (data.pending[k] ?? 0)), told: data.pending, stroke: css("--ink"), width: 1, dash: [3, 3], stepped: true };
      const lines = [pending, ...stacked.reverse()];
      const bands = lines.slice(1, -1).map((l, i) => ({ series: [i + 2, i + 3], fill: l.band }));
      return { lines, bands };
    },
    latency: (data) => ({ least: 1.1, lines: [
      ...["first token", "between tokens"].map((label, i) => ({
        label, values: data.latency[label].map((v) => (v == null ? null : Math.min(v, 3))), told: data.latency[label], stroke: css(`--c${i}`),
      })),
      { label: "target", values: data.time.map(() => 1), stroke: css("--bad"), dash: [6, 4], width: 1 },
    ] }),
    cost: (data) => ({ lines: Object.entries(data.cost).map(([label, values], i) => (
      { label, values, stroke: css(i ? "--c3" : "--c2"), scale: i ? "y2" : "y", fill: i ? undefined : css("--c2") + "22", stepped: !i })) }),
  };

  function curve(chart, box) {
    const colours = palette();
    const limits = Object.entries(chart.limits), names = Object.keys(chart.lines);
    const dots = chart.points, band = chart.band ? [{ series: chart.band.map((n) => names.indexOf(n) + 1), fill: css("--c1") + "33" }] : [];
    const top = Math.max(...names.flatMap((n) => chart.lines[n]).filter((v) => v != null), 0);
    const limit = Math.max(0, ...limits.map(([, v]) => v));
    const high = limits.length && chart.y_label === "ms" ? Math.max(Math.min(top, 3 * limit), 1.2 * limit) : Math.max(top, limit);
    return new uPlot({
      width: box.clientWidth, height: 190, padding: [8, 12, 0, 0], cursor: { drag: { x: false, y: false }, points: { size: 5 } },
      scales: { x: { time: false }, y: { range: [0, high * 1.05 || 1] } },
      axes: [axis({ label: chart.x_label, size: 26 }), axis({ size: 42 })],
      series: [
        { label: chart.x_label, value: (_, v) => round(v) },
        ...names.map((label, i) => ({
          label, stroke: chart.band?.includes(label) ? css("--c1") + "66" : colours[i % colours.length], width: chart.band?.includes(label) ? 1 : 1.5,
          points: { show: dots.includes(label), size: 7, fill: colours[i % colours.length] }, value: (_, v) => round(v),
          paths: dots.includes(label) ? () => null : chart.steps ? uPlot.paths.stepped({ align: -1 }) : undefined, fill: label === chart.fill ? css("--c2") + "33" : undefined,
        })),
        ...limits.map(([label]) => ({ label, stroke: css("--bad"), dash: [6, 4], width: 1, points: { show: false }, value: (_, v) => round(v) })),
      ],
      bands: band,
      hooks: { draw: [marking(() => Object.entries(chart.marks).map(([label, at]) => [at, label]))] },
    }, [chart.x, ...names.map((n) => chart.lines[n]), ...limits.map(([, v]) => chart.x.map(() => v))], box);
  }

  return { TimeLine, shapes, curve, clock };
})();
