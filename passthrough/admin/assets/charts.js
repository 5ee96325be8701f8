/* The charts: bars by day. */
import { at } from "./elements.js";

const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = {};

const options = (series, value, moved) => ({
  width: 320, height: 200, legend: { show: false }, tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
  cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
  scales: { x: { range: (_, first, last) => [first - 43200, last + 43200] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
  axes: [
    { stroke: colour("--soft"), grid: { show: false }, ticks: { show: false }, size: 30, incrs: [1, 2, 7, 14, 30, 91, 182, 365].map((days) => days * 86400),
      values: (_, ticks) => ticks.map((s) => new Date(s * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" })) },
    { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, size: 54, values: (_, ticks) => ticks.map(value) },
  ],
  series: [{}, ...series.map((name) => ({ fill: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 48], align: 0 }) }))],
  hooks: { setCursor: [(plot) => moved(plot.cursor.idx)] },
});

/** Draw columns of figures (the first are the days), each series with a colour of the style. `moved` and `picked` are called
    with the place of the day under the pointer, null for none. */
export const draw = (id, series, value, columns, { moved, picked }) => {
  const place = at(id);
  const height = () => (innerWidth <= 520 ? 120 : 200);
  if (!charts[id]) {
    const chart = { moved };
    chart.plot = new uPlot(options(series, value, (index) => chart.moved(index)), columns, place);
    place.addEventListener("click", () => chart.picked(chart.plot.cursor.idx));
    new ResizeObserver(() => chart.plot.setSize({ width: Math.max(200, place.clientWidth), height: height() })).observe(place);
    charts[id] = chart;
  }
  Object.assign(charts[id], { moved, picked });
  charts[id].plot.setData(columns);
};

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(charts).forEach(({ plot }) => plot.redraw(true, true)));
