// Makes one file of the client, without a dependency and with the worklet in it as text. The same source gives the same bytes.
//
//   node build.mjs           write dist/index.js
//   node build.mjs --page    write the copy that `cuestream serve` hands out, so that it needs no Node
//   node build.mjs --check   write nothing; exit with 1 when that copy is not this
//   node build.mjs --size    print what a page downloads

import { readFile, writeFile, mkdir } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SERVED = here("../../server/static/cuestream.js");

const options = { absWorkingDir: here("."), bundle: true, format: "esm", target: "es2022", write: false, charset: "utf8" };
const text = (result) => result.outputFiles[0].text;

async function bundle(minify) {
  const worklet = await build({ ...options, entryPoints: ["src/worklet.ts"], format: "iife", minify: true });
  const define = { WORKLET: JSON.stringify(text(worklet)) };
  const banner = { js: "// @cuestream/client, made by sdk/js/build.mjs. Do not edit." };
  return text(await build({ ...options, entryPoints: ["src/index.ts"], define, banner, minify }));
}

const [task] = process.argv.slice(2);
if (task === "--size") {
  const small = await bundle(true);
  const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
  console.log(`${kib(Buffer.byteLength(small))} minified, ${kib(gzipSync(small, { level: 9 }).length)} with gzip`);
} else if (task === "--check") {
  if ((await readFile(SERVED, "utf8")) !== (await bundle(false))) {
    console.error("server/static/cuestream.js is not what sdk/js/src says; run `npm run page` in sdk/js");
    process.exitCode = 1;
  }
} else {
  await mkdir(here("dist"), { recursive: true });
  await writeFile(task === "--page" ? SERVED : here("dist/index.js"), await bundle(false));
}
