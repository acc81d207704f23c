"use strict";
// The classifier's scores along a whole recording, with spans marked. Drag to look closer, double-click to see all again.
function drawScores(place, scores, spans) {
  if (!place || !scores.values?.length) { if (place) place.hidden = true; return; }
  const times = scores.values.map((_, at) => (at + 0.5) * scores.step_s);
  const text = getComputedStyle(document.body).color, axis = { stroke: text, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8888" } };
  const marked = (plot) => {
    for (const [from, to] of spans) {
      const left = plot.valToPos(from, "x", true), right = plot.valToPos(to, "x", true);
      plot.ctx.fillStyle = "#2f6fb755";
      plot.ctx.fillRect(left, plot.bbox.top, Math.max(right - left, 1), plot.bbox.height);
    }
  };
  const plot = new uPlot({
    width: place.clientWidth, height: 120, legend: { live: true }, hooks: { drawClear: [marked] },
    scales: { x: { time: false }, y: { range: [0, 1.02] } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} s`) }, { ...axis, size: 40 }],
    series: [{ label: "second" }, { label: "probability of solo piano", stroke: "#d98000", width: 2, points: { show: false } }],
  }, [times, scores.values], place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 120 })).observe(place);
}
const place = document.getElementById("scores");
if (place?.dataset.drawn) {
  const { scores, spans } = JSON.parse(place.dataset.drawn);
  drawScores(place, scores, spans);
}
