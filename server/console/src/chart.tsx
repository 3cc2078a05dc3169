import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Moments, Line } from "./moments";
import type { Format } from "./quantity";
import { timeOfDay, utc } from "./time";

interface Props {
  title: string;
  lines: Line[];
  format: Format;
  moments: Moments;
}

const height = 180;

/** Lines differ by more than their colours. */
const dashes = [[], [8, 4], [2, 3], [12, 4, 2, 4], [5, 2], [1, 5], [16, 6]];

/** Chart is a picture that moves, and a table of what it shows now. */
export function Chart({ title, lines, format, moments }: Props) {
  return (
    <figure class="card chart">
      <figcaption><h2>{title}</h2></figcaption>
      <Picture key={lines.map(({ label }) => label).join()} lines={lines} format={format} moments={moments} />
      <table>
        <caption class="hidden">{title}</caption>
        <thead><tr><th scope="col">Line</th><th scope="col" class="number">Now</th><th scope="col" class="number">Highest</th></tr></thead>
        <tbody>
          {lines.map(({ label, values }, i) => (
            <tr key={label}>
              <th scope="row"><Sample number={i} />{label}</th>
              <td class="number">{written(values.at(-1), format)}</td>
              <td class="number">{written(highest(values), format)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}

function highest(values: (number | null)[]): number | null {
  return values.reduce<number | null>((most, value) => value === null ? most : Math.max(most ?? value, value), null);
}

function written(value: number | null | undefined, format: Format) {
  return value === null || value === undefined ? <span class="faint">none</span> : format(value);
}

/** Sample shows how a line looks. */
function Sample({ number }: { number: number }) {
  return (
    <svg class={`sample line${number}`} width="30" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="30" y2="4" stroke="currentColor" stroke-width="2" stroke-dasharray={dashes[number]!.join(" ")} />
    </svg>
  );
}

/** Picture draws lines. Whoever does not see it has the table beside it. */
function Picture({ lines, format, moments: { times, span } }: Omit<Props, "title">) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  useEffect(() => {
    const element = box.current!;
    const made = plot.current = new uPlot(optionsOf(element, lines.length, format), [[], ...lines.map(() => [])], element);
    const sized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    sized.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => made.redraw(false);
    scheme.addEventListener("change", redraw);
    return () => {
      scheme.removeEventListener("change", redraw);
      sized.disconnect();
      made.destroy();
    };
  }, []);
  useEffect(() => {
    const now = times.at(-1);
    plot.current!.setData([times, ...lines.map(({ values }) => values)], false);
    if (now !== undefined) plot.current!.setScale("x", { min: now - span, max: now });
  });
  return <div ref={box} class="picture" aria-hidden="true" />;
}

/** optionsOf takes all colours from the style sheet, whenever it draws. */
function optionsOf(element: HTMLElement, lines: number, format: Format): uPlot.Options {
  const colour = (property: "color" | "borderTopColor") => () => getComputedStyle(element)[property];
  const axis = { stroke: colour("color"), grid: { stroke: colour("borderTopColor"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width: element.clientWidth,
    height,
    padding: [null, 36, null, null], // The last time of the scale has room.
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [
      { ...axis, space: 80, values: (_, ticks) => ticks.map((tick) => timeOfDay(new Date(tick * 1000), utc.value)) },
      { ...axis, size: 70, space: 36, values: (_, ticks) => ticks.map(format) },
    ],
    series: [{}, ...Array.from({ length: lines }, (_, i) => ({
      stroke: () => getComputedStyle(element.parentElement!.querySelector(`.line${i}`)!).color,
      width: 2, dash: dashes[i], points: { show: false }, spanGaps: false,
    }))],
  };
}
