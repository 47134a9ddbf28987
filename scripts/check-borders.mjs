// The import borders of the design: which layer may import which, through which door; no cycles. dependency-cruiser would
// do this, but it cannot read TypeScript beside TypeScript 7 (whose API is not published yet) and then silently passes.
// Sizes, parameters, and the doors of clock, chance, environment and exit are checked by Biome (biome.json, scripts/lint).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync } from 'oxc-parser';

/** Layer → what it may import besides itself. */
const lower = ['base', 'config', 'streams'];
const layers = {
  base: [],
  config: ['base'],
  streams: ['base'],
  tar: ['base', 'streams'],
  storage: lower,
  postgres: [...lower, 'tar'],
  repository: [...lower, 'storage'],
  providers: lower,
  catalog: [...lower, 'storage', 'postgres', 'repository'],
  operations: [...lower, 'tar', 'storage', 'postgres', 'repository', 'providers', 'catalog'],
};
layers.services = [...layers.operations, 'operations'];
layers.api = [...layers.services, 'services'];
layers.daemon = [...layers.api, 'api'];
layers.cli = [...layers.daemon, 'daemon'];

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Workspace → the packages that it ships with. */
const shipped = Object.fromEntries(
  ['engine', 'reference-app'].map((workspace) => {
    const manifest = JSON.parse(readFileSync(join(root, workspace, 'package.json'), 'utf8'));
    return [workspace, new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))];
  }),
);
const problems = [];
/** File → the files that it imports at run time, for cycles. */
const graph = new Map();

function sources(folder) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|tsx|mjs|js)$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((file) => !file.includes('node_modules') && !file.includes('/dist/'));
}

/** `{ name, typeOnly, line }` of every import, re-export and dynamic import with a literal name. */
function importsOf(file) {
  const text = readFileSync(join(root, file), 'utf8');
  const { module, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`);
  const found = [];
  const add = (request, typeOnly) =>
    found.push({ name: request.value, typeOnly, line: text.slice(0, request.start).split('\n').length });
  for (const { moduleRequest, entries } of module.staticImports)
    add(moduleRequest, entries.length > 0 && entries.every((entry) => entry.isType));
  for (const { entries } of module.staticExports) {
    const requests = entries.filter((entry) => entry.moduleRequest);
    for (const entry of requests)
      add(
        entry.moduleRequest,
        requests.every((other) => other.isType),
      );
  }
  for (const { moduleRequest } of module.dynamicImports) {
    const value = /^['"](.*)['"]$/.exec(text.slice(moduleRequest.start, moduleRequest.end))?.[1];
    if (value !== undefined) add({ value, start: moduleRequest.start }, false);
  }
  return found;
}

const isTest = (file) =>
  /\.test\.tsx?$/.test(file) || file.includes('/testing/') || /^[a-z-]+\/test\//.test(file);
const layerOf = (file) => /^engine\/src\/([^/]+)\//.exec(file)?.[1];

function checkFile(file) {
  const edges = new Set();
  for (const { name, typeOnly, line } of importsOf(file)) {
    const where = `${file}:${line}`;
    if (!name.startsWith('.')) {
      checkPackage(file, name, where);
      continue;
    }
    const target = relative(root, resolve(root, dirname(file), name));
    if (!existsSync(join(root, target))) problems.push(`${where}: ${name} does not exist`);
    if (!typeOnly) edges.add(target);
    checkProjects(file, target, where);
    if (file.startsWith('engine/src/') && !isTest(file)) checkLayers(file, target, where);
  }
  graph.set(file, edges);
}

function checkPackage(file, name, where) {
  const [workspace, folder] = file.split('/');
  if (!shipped[workspace] || folder !== 'src' || isTest(file)) return;
  if (name.startsWith('node:')) return;
  if (builtinModules.includes(name)) problems.push(`${where}: write node:${name}`);
  const owner = name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');
  if (!shipped[workspace].has(owner))
    problems.push(`${where}: ${owner} is not a dependency in ${workspace}/package.json`);
}

/** The protected application knows nothing of what protects it; the console shares the API's contract only. */
function checkProjects(file, target, where) {
  const [from] = file.split('/');
  const [to] = target.split('/');
  if (from === to || from === 'bench' || from === 'scripts') return;
  if (from === 'console' && target.startsWith('engine/src/api/contract/')) return;
  // Throw-away servers for its tests; nothing of the engine is in there.
  if (file.startsWith('reference-app/test/') && target === 'engine/test/pg-server.ts') return;
  problems.push(`${where}: ${from} cannot import ${to}`);
}

function checkLayers(file, target, where) {
  const from = layerOf(file);
  const to = layerOf(target);
  if (isTest(target)) problems.push(`${where}: what ships cannot import test code (${target})`);
  if (from === undefined || to === undefined) return;
  if (!layers[from]) problems.push(`${where}: the folder ${from} is not in scripts/check-borders.mjs`);
  else if (from !== to && !layers[from].includes(to)) problems.push(`${where}: ${from} cannot import ${to}`);
  else if (from !== to && to !== 'base' && !target.endsWith('/index.ts'))
    problems.push(`${where}: import ${to}/ through its door, ${to}/index.ts`);
  if (/\/cli\/verbs\/(?!index)/.test(file) && target.includes('/cli/verbs/'))
    problems.push(`${where}: a verb cannot import another verb`);
}

/** Each layer's folder has a door that opens with what the folder is. `base` is a set of small independent files. */
function checkDoors() {
  const folders = new Set(
    [...graph.keys()].map(layerOf).filter((name) => name !== undefined && name !== 'base'),
  );
  for (const name of folders) {
    const door = `engine/src/${name}/index.ts`;
    if (!graph.has(door)) problems.push(`engine/src/${name}: has no door, index.ts`);
    else if (!readFileSync(join(root, door), 'utf8').startsWith('/**'))
      problems.push(`${door}: does not open with a comment that says what the folder is`);
  }
}

/** Depth first; a file that is met again on the way down closes a cycle. */
function checkCycles() {
  const done = new Set();
  const way = [];
  const visit = (file) => {
    if (way.includes(file)) {
      problems.push(`a cycle: ${[...way.slice(way.indexOf(file)), file].join(' → ')}`);
      return;
    }
    if (done.has(file)) return;
    way.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    way.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
}

for (const project of ['engine', 'console', 'reference-app', 'bench'])
  for (const file of sources(project)) checkFile(file);
checkDoors();
checkCycles();
if (graph.size === 0) problems.push('no source file was found');
for (const problem of problems) console.error(problem);
console.log(
  problems.length === 0 ? `borders: good (${graph.size} files)` : `borders: ${problems.length} problems`,
);
process.exit(problems.length === 0 ? 0 : 1);
