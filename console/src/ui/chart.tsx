// Messages in and out a second: gaps stay gaps, the axis begins at zero, and a table says the same.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Sample } from "../lib/status.ts";
import { clock, rate } from "../lib/format.ts";
import { Table } from "./parts.tsx";

/** The colour that a custom property stands for right now, light or dark. */
function colour(at: Element, name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  at.append(probe);
  const c = getComputedStyle(probe).color;
  probe.remove();
  return c;
}

export function Chart({ of, theme, span }: { of: Sample[]; theme: string; span: number }) {
  const box = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLSpanElement>(null);
  const shown = useRef(of);
  shown.current = of;
  const plot = useRef<uPlot | null>(null);
  useEffect(() => {
    const at = box.current;
    if (!at) return;
    const build = () => {
      plot.current?.destroy();
      const [grid, text, a, b] = ["--line", "--faint", "--in", "--out"].map((n) => colour(at, n)) as [string, string, string, string];
      const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
      plot.current = new uPlot(
        {
          width: at.clientWidth,
          height: 220,
          cursor: { points: { size: 7 }, drag: { x: false, y: false } },
          legend: { show: false },
          scales: {
            // As wide as what is known, up to the span chosen: an empty chart tells nothing.
            x: {
              range: () => {
                const now = Date.now() / 1000;
                return [Math.max(now - span, Math.min(data.current[0][0] ?? now, now - 60)), now];
              },
            },
            y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.15)] },
          },
          axes: [
            { ...axis, space: 80, size: 28, values: "{HH}:{mm}:{ss}" },
            { ...axis, size: 58, values: (_u, v) => v.map((n) => `${rate(n)} /s`) },
          ],
          hooks: {
            setCursor: [
              (u) => {
                const s = u.cursor.idx === null || u.cursor.idx === undefined ? undefined : shown.current[u.cursor.idx];
                if (!readout.current) return;
                readout.current.textContent = s && (u.cursor.left ?? -1) >= 0 ? `${clock(new Date(s.at * 1000).toISOString()).slice(0, -4)}   in ${rate(s.in)} /s   out ${rate(s.out)} /s` : "";
              },
            ],
          },
          series: [
            {},
            { label: "in", stroke: a, fill: `color-mix(in srgb, ${a} 9%, transparent)`, width: 2, spanGaps: false, points: { show: false } },
            { label: "out", stroke: b, width: 2, dash: [6, 4], spanGaps: false, points: { show: false } },
          ],
        },
        [[], [], []],
        at,
      );
    };
    build();
    const size = new ResizeObserver(() => plot.current?.setSize({ width: at.clientWidth, height: 220 }));
    size.observe(at);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => {
      build();
      plot.current?.setData(data.current);
    };
    scheme.addEventListener("change", changed);
    plot.current?.setData(data.current);
    return () => {
      scheme.removeEventListener("change", changed);
      size.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [theme, span]);
  const data = useRef<uPlot.AlignedData>([[], [], []]);
  data.current = [of.map((s) => s.at), of.map((s) => s.in), of.map((s) => s.out)];
  useEffect(() => plot.current?.setData(data.current), [of]);
  return (
    <div class="chart">
      <div ref={box} role="img" aria-label="Messages in and out a second over time; the button Table shows the same figures" />
      <span class="readout" ref={readout} aria-hidden="true" />
    </div>
  );
}

export function ChartTable({ of }: { of: Sample[] }) {
  const newest = of.slice(-60).reverse();
  return (
    <>
      <Table label="Messages a second, newest first" head={["Time", ["In a second", "n"], ["Out a second", "n"]]} class="dense">
        {newest.map((s) => (
          <tr key={s.at}>
            <td class="mono">{clock(new Date(s.at * 1000).toISOString())}</td>
            <td class="n">{s.in === null ? "unknown" : rate(s.in)}</td>
            <td class="n">{s.out === null ? "unknown" : rate(s.out)}</td>
          </tr>
        ))}
      </Table>
      <p class="faint">
        The newest {newest.length} of {of.length} readings kept in this tab.
      </p>
    </>
  );
}
