// Builds console/dist. The result is committed, so that building the server needs no Node.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const LIMIT = 60 * 1024;
const here = new URL(".", import.meta.url);
const dist = new URL("dist/", here);

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });

const { metafile } = await build({
  absWorkingDir: here.pathname,
  entryPoints: { app: "src/main.tsx" },
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "esm",
  // Screens that few open are files of their own.
  splitting: true,
  chunkNames: "[name]",
  metafile: true,
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
});
for (const name of ["index.html", "favicon.svg"]) await copyFile(new URL(`src/${name}`, here), new URL(name, dist));

// What is bundled keeps its licences: they are served beside it.
let licences = "The console of Switchboard contains the following software.\n";
for (const name of ["preact", "@preact/signals", "@preact/signals-core", "uplot"]) {
  const { version, homepage } = JSON.parse(await readFile(new URL(`node_modules/${name}/package.json`, here), "utf8"));
  const text = await readFile(new URL(`node_modules/${name}/LICENSE`, here), "utf8");
  licences += `\n${"=".repeat(72)}\n${name} ${version}${homepage ? ` ${homepage}` : ""}\n\n${text.trim()}\n`;
}
await writeFile(new URL("licenses.txt", dist), licences);

// What the page loads at once: the script with all that it imports, but not what it imports when needed.
const first = new Set(["index.html", "app.css", "favicon.svg"]);
const follow = (path) => {
  if (first.has(path.slice(5))) return;
  first.add(path.slice(5));
  for (const { path: next, kind } of metafile.outputs[path].imports) if (kind === "import-statement") follow(next);
};
follow("dist/app.js");
const scripts = Object.keys(metafile.outputs).map((path) => path.slice(5));

let total = 0;
for (const name of new Set(["index.html", ...scripts, "favicon.svg", "licenses.txt"])) {
  const plain = await readFile(new URL(name, dist));
  const packed = gzipSync(plain, { level: 9 });
  packed[9] = 255; // the same bytes on every system: the header names none
  await writeFile(new URL(`${name}.gz`, dist), packed);
  if (first.has(name)) total += packed.length;
  console.log(`${name.padEnd(16)} ${String(plain.length).padStart(7)} B  gz ${String(packed.length).padStart(6)} B`);
}
console.log(`first load ${total} B of ${LIMIT} B`);
if (total > LIMIT) {
  console.error("the first load is over its budget");
  process.exit(1);
}
