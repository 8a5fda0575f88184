// Draws the report's data with uPlot: bars over names, and the curves of the server that is picked.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = ["#1f6feb", "#d9730d", "#2da44e", "#8250df", "#bf3989", "#6e7781", "#0a7ea4"];
  const axis = (label, extra = {}) => ({
    label, labelSize: 18, stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") }, ...extra,
  });
  const round = (v) => (v == null ? "-" : Number(v.toPrecision(4)).toLocaleString("en"));

  function bars(id, table, { line } = {}) {
    const box = document.getElementById(id);
    const { names, ...series } = table;
    if (!names.length) { box.textContent = "Nothing to show."; return; }
    const labels = Object.keys(series);
    const x = names.map((_, i) => i);
    const width = 0.8 / labels.length;
    const longest = Math.max(...names.map((n) => n.length));
    const rotated = names.length * longest * 8 > box.clientWidth;
    const columns = labels.map((label, k) => ({
      label, stroke: palette[k], fill: palette[k] + "99", width: 1, points: { show: false }, value: (_, v) => round(v),
      paths: uPlot.paths.bars({ size: [width, 60], align: labels.length === 1 ? 0 : k === 0 ? -1 : 1 }),
    }));
    const rows = labels.map((label) => series[label]);
    if (line != null) {
      labels.push("target");
      columns.push({ label: "target", stroke: css("--bad"), dash: [6, 4], width: 1.5, points: { show: false } });
      rows.push(names.map(() => line));
    }
    new uPlot({
      width: box.clientWidth, height: rotated ? 300 : 220, padding: [null, rotated ? 60 : null, null, null],
      scales: { x: { time: false, range: [-0.6, names.length - 0.4] }, y: { range: (_, lo, hi) => [0, Math.max(hi, line ?? 0) * 1.08 || 1] } },
      axes: [
        axis("", {
          splits: () => x, values: (_, at) => at.map((i) => names[i] ?? ""), rotate: rotated ? -55 : 0, grid: { show: false },
          size: rotated ? Math.min(40 + longest * 5.2, 170) : 40,
        }),
        axis("", { size: 60 }),
      ],
      series: [{ label: "", value: (_, i) => names[i] ?? "-" }, ...columns],
    }, [x, ...rows], box);
  }

  function curve(chart, box) {
    const limits = Object.entries(chart.limits);
    const names = Object.keys(chart.lines);
    const top = Math.max(...names.flatMap((n) => chart.lines[n]).filter((v) => v != null), 0);
    const limitTop = Math.max(0, ...limits.map(([, v]) => v));
    const high = limits.length && chart.y_label === "ms" ? Math.max(Math.min(top, 3 * limitTop), 1.2 * limitTop) : Math.max(top, limitTop);
    // what is measured has the colour of the line that it belongs to
    const kinds = [...new Set(names.map((n) => n.replace(/, measured$/, "")))];
    const colour = (n) => palette[kinds.indexOf(n.replace(/, measured$/, "")) % palette.length];
    const dotted = chart.points === true ? names : chart.points || [];
    const stepped = chart.steps ? uPlot.paths.stepped({ align: -1 }) : undefined;
    new uPlot({
      title: chart.title, width: box.clientWidth, height: 260,
      scales: { x: { time: false }, y: { range: chart.range ?? [0, high * 1.05 || 1] } },
      axes: [axis(chart.x_label), axis(chart.y_label, { size: 60 })],
      series: [
        { label: chart.x_label, value: (_, v) => round(v) },
        ...names.map((label) => ({
          label, stroke: colour(label), width: 2, points: { show: dotted.includes(label), size: 9 }, paths: dotted.includes(label) ? () => null : stepped, value: (_, v) => round(v),
          fill: label === chart.fill ? "#2da44e33" : undefined,
        })),
        ...limits.map(([label]) => ({ label, stroke: css("--bad"), dash: [6, 4], width: 1.5, points: { show: false }, value: (_, v) => round(v) })),
      ],
      hooks: { draw: [(u) => {
        for (const [label, at] of Object.entries(chart.marks)) {
          const px = u.valToPos(at, "x", true);
          if (px < u.bbox.left || px > u.bbox.left + u.bbox.width) continue;
          u.ctx.save(); u.ctx.strokeStyle = css("--soft"); u.ctx.fillStyle = css("--soft"); u.ctx.setLineDash([3, 3]);
          u.ctx.beginPath(); u.ctx.moveTo(px, u.bbox.top); u.ctx.lineTo(px, u.bbox.top + u.bbox.height); u.ctx.stroke();
          u.ctx.fillText(label, px + 4, u.bbox.top + 12); u.ctx.restore();
        }
      }] },
    }, [chart.x, ...names.map((n) => chart.lines[n]), ...limits.map(([, v]) => chart.x.map(() => v))], box);
  }

  function show(server) {
    const box = document.getElementById("curves");
    box.replaceChildren();
    document.getElementById("picked").textContent = server ? server.note ?? "on " + server.accelerator : "No server has load and an allocation.";
    const charts = server?.charts ?? [];
    // all boxes first: a plot takes the width that its box has when it is drawn
    const figures = charts.map(() => box.appendChild(document.createElement("figure")));
    charts.forEach((chart, i) => curve(chart, figures[i]));
  }

  if (data.cost) {
    bars("cost", data.cost);
    bars("latency", data.latency, { line: 1 });
    bars("cards", data.cards);
  }
  if (data.scatter) curve(data.scatter, document.getElementById("scatter"));
  const pick = document.getElementById("pick");
  for (const [i, server] of data.servers.entries()) pick.add(new Option(server.server, i));
  pick.onchange = () => show(data.servers[pick.value]);
  show(data.servers[0]);

  for (const row of document.querySelectorAll("#servers .row")) {
    const toggle = () => { const detail = row.parentElement.querySelector(".detail"); detail.hidden = !detail.hidden; };
    row.onclick = toggle;
    row.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); } };
  }
})();
