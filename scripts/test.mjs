// Runs the tests on the Node.js that the workspace brings. Plain JavaScript: the caller may be an older Node.js.
//   npm test                      everything but the slow suites
//   npm test -- --slow            the slow suites, too
//   npm test -- --matrix          everything but the slow suites, on each major version of PostgreSQL
//   npm test -- restore verify    only files whose path contains one of the words
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { shareS3Server } from './test-s3.mjs';

const root = join(fileURLToPath(import.meta.url), '..', '..');
const node = join(root, 'node_modules', 'node', 'bin', 'node');
const words = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const slow = process.argv.includes('--slow');

function find(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (name === 'node_modules' || name.startsWith('.')) return [];
    return statSync(path).isDirectory() ? find(path) : [path];
  });
}

const files = ['engine', 'console', 'reference-app']
  .flatMap((workspace) => find(join(root, workspace)))
  .filter((file) => file.endsWith('.test.ts') && (slow || !file.endsWith('.slow.test.ts')))
  .filter((file) => words.length === 0 || words.some((word) => relative(root, file).includes(word)))
  .sort();
if (files.length === 0) {
  console.error('no test file fits');
  process.exit(1);
}
const totals = { pass: 0, fail: 0, skipped: 0 };
// Compiled code is kept for the next file: half of a file's start.
const cache = join(root, 'node_modules', '.cache', 'tests');
process.env.NODE_COMPILE_CACHE ??= cache;
// The program that tests begin again and again is put together as a package has it: it begins in half the time.
if (files.some((file) => file.endsWith('.e2e.test.ts'))) {
  const program = buildProgram();
  if (program !== undefined) process.env.HELVINO_TEST_PROGRAM = join(program, 'bin', 'helvino.mjs');
}
const needsS3 = /^(s3-.*|s3|copies)\.(e2e\.)?test\.ts$/;
if (files.filter((file) => needsS3.test(basename(file))).length > 1) await shareS3Server();
// Tests of one thing on each major version run on the oldest and the newest; `--matrix` and the slow suites run all.
if (slow || process.argv.includes('--matrix')) process.env.HELVINO_TEST_MATRIX = '1';
/** Its folder: one for each content, since others may be running it. Undefined: it cannot be kept here, and tests take the sources. */
function buildProgram() {
  let half;
  try {
    mkdirSync(cache, { recursive: true });
    half = mkdtempSync(join(cache, 'half-'));
  } catch {
    return undefined;
  }
  const built = spawnSync(node, [join(root, 'engine', 'scripts', 'build.ts'), half], { stdio: 'inherit' });
  if (built.status !== 0) process.exit(1);
  const content = createHash('sha256');
  for (const file of find(half).sort()) content.update(relative(half, file)).update(readFileSync(file));
  const program = join(cache, `program-${content.digest('hex').slice(0, 16)}`);
  try {
    renameSync(half, program);
  } catch (thrown) {
    // An earlier run has made it.
    rmSync(half, { recursive: true, force: true });
    if (thrown.code !== 'ENOTEMPTY' && thrown.code !== 'EEXIST') throw thrown;
  }
  return program;
}

// A file's start takes half a second of a processor: those that need no server and no other program share processes. Each
// keeps a suite of its own, so that its hooks are for its own tests.
const small = files.filter(
  (file) => !/\.(pg|e2e|slow)\.test\.ts$/.test(file) && !needsS3.test(basename(file)),
);
const shared = mkdtempSync(join(tmpdir(), 'hv-tests-'));
process.on('exit', () => rmSync(shared, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
const bundles = [];
for (let index = 0; index < small.length; index += 20) {
  const suites = small.slice(index, index + 20).map((file) => {
    const title = JSON.stringify(relative(root, file));
    return `describe(${title}, async () => { await import(${JSON.stringify(pathToFileURL(file).href)}); });\n`;
  });
  const bundle = join(shared, `small-${bundles.length + 1}.test.mjs`);
  writeFileSync(bundle, `import { describe } from 'node:test';\n${suites.join('')}`);
  bundles.push(bundle);
}

// The reporter's last lines say how it went: "ℹ pass 12".
const child = spawn(
  node,
  [
    '--disable-warning=ExperimentalWarning',
    '--test',
    `--import=${new URL('test-end.mjs', import.meta.url)}`,
    '--test-reporter=spec',
    '--test-concurrency=2',
    `--test-timeout=${slow ? 3_600_000 : 600_000}`,
    ...files.filter((file) => !small.includes(file)),
    ...bundles,
  ],
  { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] },
);
let rest = '';
child.stdout.on('data', (chunk) => {
  process.stdout.write(chunk);
  const lines = (rest + chunk).split('\n');
  rest = lines.pop();
  for (const line of lines) {
    const match = /^\S+ (pass|fail|cancelled|skipped) (\d+)$/.exec(line.replace(/\u001b\[\d+m/g, ''));
    if (match) totals[match[1] === 'cancelled' ? 'fail' : match[1]] += Number(match[2]);
  }
});
child.on('close', (code) => {
  console.log(
    `${totals.pass} passed, ${totals.fail} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`,
  );
  const ran = totals.pass + totals.fail;
  if (ran === 0) console.error('no test ran');
  process.exit(code === 0 && ran > 0 && totals.fail === 0 ? 0 : 1);
});
