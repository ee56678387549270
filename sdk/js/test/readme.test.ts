// What the README shows has types, for whoever copies it into TypeScript.

import ts from "typescript";
import { expect, test } from "vitest";

/** What the examples take for granted. */
const GIVEN = `
import type * as sdk from "@cuestream/client";
declare global {
  const Client: typeof sdk.Client;
  const KIND: typeof sdk.KIND;
  const MusicPlayer: typeof sdk.MusicPlayer;
  const RtcTransport: typeof sdk.RtcTransport;
  const WhepPlayer: typeof sdk.WhepPlayer;
  const client: sdk.Client;
  const player: sdk.MusicPlayer;
  const stream: MediaStream;
  const video: MediaStreamTrack;
  const audio: HTMLAudioElement;
  const urls: Required<sdk.Invitation["urls"]>;
  const { session, playedThrough, bufferMs, underruns, clockPpm }: sdk.Playout;
  function onMusic(music: MediaStream): void;
  function say(text: string): void;
  function link(path: string): void;
  function write(samples: Float32Array): void;
  const jpegs: AsyncIterable<Uint8Array>;
  function show(config: sdk.Config): void;
}`;
/** JavaScript has no `!` for an element that is surely there. */
const PERHAPS_NULL = 2531;

const here = ts.sys.getCurrentDirectory();

/** The errors of modules by their names, beside src. */
function errorsOf(modules: Map<string, string>): string[] {
  const { config } = ts.readConfigFile(`${here}/tsconfig.json`, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: ["src"] }, ts.sys, here);
  const paths = { "@cuestream/client": [`${here}/src/index.ts`] };
  const all = { ...options, paths, noEmit: true, noUnusedLocals: false, noUnusedParameters: false };
  const host = ts.createCompilerHost(all);
  const read = host.getSourceFile;
  host.getSourceFile = (name, version, ...rest) => {
    const text = modules.get(name);
    return text === undefined ? read(name, version, ...rest) : ts.createSourceFile(name, text, version);
  };
  const found = ts.getPreEmitDiagnostics(ts.createProgram([...modules.keys()], all, host));
  return found.filter(({ code }) => code !== PERHAPS_NULL).map((error) => ts.formatDiagnostic(error, host));
}

test("the examples of the README have types", { timeout: 60_000 }, () => {
  const readme = ts.sys.readFile(`${here}/README.md`)!;
  const examples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, text]) => text!.replaceAll("=> ...", "=> {}"));
  expect(examples.length).toBeGreaterThan(5);
  const modules = new Map(examples.map((text, at) => [`${here}/example${at}.ts`, `${text}export {};`]));
  expect(errorsOf(modules.set(`${here}/given.d.ts`, GIVEN))).toEqual([]);
});
