// Makes one file of the client, without a dependency and with the worklet in it as text. The same source gives the same bytes.
//
//   node build.mjs           write dist/index.js
//   node build.mjs --page    write the copy that `cuestream serve` hands out, so that it needs no Node
//   node build.mjs --check   write nothing; exit with 1 when that copy is not this, or the page has syntax that OLDEST lacks
//   node build.mjs --size    print what a page downloads

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PAGE = here("../../server/static/");
const SERVED = `${PAGE}cuestream.js`;
/** The oldest browsers that read what we write; tsconfig's `lib` is what their language has. */
const OLDEST = ["chrome92", "firefox115", "safari16.4"];

const options = { absWorkingDir: here("."), bundle: true, format: "esm", target: OLDEST, write: false, charset: "utf8" };
const text = (result) => result.outputFiles[0].text;

async function bundle(minify) {
  const worklet = await build({ ...options, entryPoints: ["src/worklet.ts"], format: "iife", minify: true });
  const define = { WORKLET: JSON.stringify(text(worklet)) };
  const banner = { js: "// @cuestream/client, made by sdk/js/build.mjs. Do not edit." };
  return text(await build({ ...options, entryPoints: ["src/index.ts"], define, banner, minify }));
}

/** Files of the page that esbuild would write in another way for the oldest browsers, or could not. */
async function tooNew() {
  const files = (await readdir(PAGE)).filter((name) => /\.(js|css)$/.test(name));
  const differs = async (name) => {
    const code = await readFile(PAGE + name, "utf8");
    const written = (target) => transform(code, { loader: name.split(".").pop(), target, charset: "utf8" });
    const [old, now] = await Promise.all([written(OLDEST), written("esnext")]);
    return old.code !== now.code && name;
  };
  return (await Promise.all(files.map(differs))).filter(Boolean);
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
  for (const name of await tooNew()) {
    console.error(`server/static/${name} has syntax that ${OLDEST.join(", ")} do not all have`);
    process.exitCode = 1;
  }
} else {
  await mkdir(here("dist"), { recursive: true });
  await writeFile(task === "--page" ? SERVED : here("dist/index.js"), await bundle(false));
}
