/**
 * Puts the engine together for an installed package, where Node.js runs no TypeScript: a few files instead of hundreds, which also
 * begin in half the time. `node scripts/build.ts` writes `dist`; `npm pack -w engine` does so, too. With a folder, it writes a program there.
 */
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';

const engine = fileURLToPath(new URL('..', import.meta.url));
/** What begins in a thread of its own, or is loaded by its address; and what is read as it is. */
const beside = /new URL\('\.\/([\w-]+)\.(ts|sh)', import\.meta\.url\)/g;
/** Loaded only where they are needed, with files of their own: they stay packages. */
const external = ['@aws-sdk/*', '@smithy/*', 'dockerode', 'pg-native'];

/** All files beside each other in `outdir`, which is emptied. `mains`: programs that are begun. */
export async function build(mains: readonly string[], outdir: string): Promise<void> {
  const { modules, others } = await filesBeside();
  await rm(outdir, { recursive: true, force: true });
  const { metafile } = await esbuild.build({
    entryPoints: [...mains, ...modules],
    outdir,
    entryNames: '[name]',
    chunkNames: 'part-[hash]',
    metafile: true,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    external,
    legalComments: 'none',
    // Packages that are no ES modules ask for parts of Node.js by it.
    banner: {
      js: "import { createRequire as req } from 'node:module'; const require = req(import.meta.url);",
    },
    plugins: [{ name: 'beside', setup: rewrite }],
    logLevel: 'warning',
  });
  for (const other of others) await copyFile(other, join(outdir, basename(other)));
  await writeFile(join(outdir, 'LICENSES.txt'), await licenses(Object.keys(metafile.inputs)));
}

/** Of the packages that are in it, which ask for that. */
async function licenses(inputs: readonly string[]): Promise<string> {
  const folders = inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  const texts = [...new Set(folders)].sort().map(async (folder) => {
    const facts = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((name) => /^licen[cs]e/i.test(name));
    const text = file === undefined ? '' : await readFile(join(folder, file), 'utf8');
    return `${facts.name} ${facts.version} (${facts.license})\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${'-'.repeat(80)}\n\n`);
}

function rewrite({ onLoad }: esbuild.PluginBuild): void {
  onLoad({ filter: /\/engine\/src\/.*\.ts$/ }, async ({ path }) => {
    const text = await readFile(path, 'utf8');
    const contents = text.replace(beside, (whole, name, kind) =>
      kind === 'ts' ? `new URL('./${name}.js', import.meta.url)` : whole,
    );
    return { contents, loader: 'ts' };
  });
}

async function filesBeside(): Promise<{ modules: string[]; others: string[] }> {
  const found: string[] = [];
  const sources = await readdir(join(engine, 'src'), { recursive: true, withFileTypes: true });
  for (const { name, parentPath } of sources) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts') || parentPath.endsWith('/testing')) continue;
    const text = await readFile(join(parentPath, name), 'utf8');
    for (const [, file, kind] of text.matchAll(beside)) found.push(join(parentPath, `${file}.${kind}`));
  }
  const names = found.map((path) => basename(path));
  if (new Set(names).size < names.length)
    throw new Error(`two files have the same name: ${names.join(', ')}`);
  return {
    modules: found.filter((path) => path.endsWith('.ts')),
    others: found.filter((path) => !path.endsWith('.ts')),
  };
}

/** A program that begins from a folder, as an installed package does. */
async function buildProgram(folder: string): Promise<void> {
  await build([join(engine, 'src/main.ts')], join(folder, 'dist'));
  await mkdir(join(folder, 'bin'), { recursive: true });
  for (const name of ['bin/helvino.mjs', 'package.json'])
    await copyFile(join(engine, name), join(folder, name));
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder !== undefined) await buildProgram(folder);
  else {
    await build([join(engine, 'src/main.ts')], join(engine, 'dist'));
    await copyFile(join(engine, '../LICENSE'), join(engine, 'LICENSE'));
  }
}
