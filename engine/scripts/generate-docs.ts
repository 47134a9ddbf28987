/**
 * Writes docs/reference/{cli,configuration,errors}.md from the tables that the program itself uses. With --check it writes
 * nothing and fails when a page differs.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cliPage } from './cli-page.ts';
import { configurationPage } from './configuration-page.ts';
import { errorsPage } from './errors-page.ts';

const folder = fileURLToPath(new URL('../../docs/reference/', import.meta.url));
const pages = { 'cli.md': cliPage, 'configuration.md': configurationPage, 'errors.md': errorsPage };
const check = process.argv.includes('--check');
const stale: string[] = [];

await mkdir(folder, { recursive: true });
for (const [name, render] of Object.entries(pages)) {
  const path = join(folder, name);
  const wanted = render();
  const found = await readFile(path, 'utf8').catch(() => undefined);
  if (found === wanted) continue;
  if (check) stale.push(name);
  else await writeFile(path, wanted);
}
if (stale.length > 0) {
  console.error(
    `docs/reference is not what the program says (${stale.join(', ')}): run \`npm run docs\` and commit`,
  );
  process.exit(1);
}
console.log(
  check ? 'docs/reference: up to date' : `docs/reference: ${Object.keys(pages).join(', ')} written`,
);
