"use strict";

// Draws what /series tells; the same figures are in a table for whoever cannot see it.
(() => {
  const REFRESH_MS = 5000;
  const HEIGHT = 220;

  const colour = (name) => {
    const probe = document.createElement("span");
    probe.className = `swatch swatch-${name}`;
    document.body.append(probe);
    const found = getComputedStyle(probe).backgroundColor;
    probe.remove();
    return found;
  };
  const textColour = () => getComputedStyle(document.querySelector("figcaption")).color;
  const lineColour = () => getComputedStyle(document.querySelector(".card")).borderColor;

  const shapes = {
    throughput: (told) => {
      const perMinute = 60 / told.bucket_seconds;
      // The time that is under way has not had all of its images yet.
      const isOver = told.times.at(-1) + told.bucket_seconds <= Date.now() / 1000;
      const end = isOver || told.times.length < 2 ? undefined : -1;
      const rates = (numbers) => numbers.slice(0, end).map((n) => n * perMinute);
      return {
        data: [told.times.slice(0, end), rates(told.done), rates(told.failed)],
        series: [["images", "done"], ["failed", "failed"]],
        value: (v) => (v == null ? "–" : v.toLocaleString("en", { maximumFractionDigits: 1 })),
      };
    },
    cost: (told) => {
      let sum = 0;
      return {
        data: [told.times, told.nanodollars.map((n) => (sum += n) / 1e9)],
        series: [["cost", "decode"]],
        value: (v) => (v == null ? "–" : `$${v.toPrecision(3)}`),
      };
    },
  };

  const DAY = 86400;
  const clock = (ticks) => {
    const [from, to] = ticks.at(-1) - ticks[0] > 2 * DAY ? [5, 10] : ticks[1] - ticks[0] < 60 ? [11, 19] : [11, 16];
    return (tick) => new Date(tick * 1000).toISOString().slice(from, to);
  };

  const options = (shape, width) => {
    const axis = { stroke: textColour(), grid: { stroke: lineColour(), width: 1 }, ticks: { stroke: lineColour() } };
    return {
      width,
      height: HEIGHT,
      padding: [12, 28, 0, 0],
      scales: { y: { range: (_, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      axes: [
        { ...axis, space: 80, values: (_, ticks) => ticks.map(clock(ticks)) },
        { ...axis, size: 94, values: (_, ticks) => ticks.map(shape.value) },
      ],
      series: [
        { label: "UTC", value: (_, v) => (v == null ? "–" : new Date(v * 1000).toISOString().slice(0, 19).replace("T", " ")) },
        ...shape.series.map(([label, name]) => ({
          label,
          stroke: colour(name),
          width: 2,
          points: { show: shape.data[0].length < 40 },
          value: (_, v) => shape.value(v),
        })),
      ],
    };
  };

  const charts = [...document.querySelectorAll("[data-chart]")];
  const drawn = new Map();

  const draw = (told) => {
    for (const place of charts) {
      place.closest(".charts").hidden = false;
      const shape = shapes[place.dataset.chart](told);
      drawn.get(place)?.destroy();
      drawn.set(place, new uPlot(options(shape, place.clientWidth), shape.data, place));
    }
  };

  const load = async () => {
    const answer = await fetch(charts[0].dataset.series).catch(() => null);  // it may be away for a while
    if (!answer?.ok) return;
    last = await answer.json();
    if (last.times.length) draw(last);
  };

  let last = null;
  if (!charts.length) return;
  load();
  if (charts.some((place) => "live" in place.dataset)) {
    const timer = setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
    document.addEventListener("htmx:sseClose", () => { clearInterval(timer); load(); });
  }
  const redraw = () => last?.times.length && draw(last);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
})();
