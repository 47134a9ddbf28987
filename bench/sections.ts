/** RESULTS.md has a section of its own for each further bench, which the others leave as it is. */
import { readFile, writeFile } from 'node:fs/promises';

const pattern = /<!-- section (\w+) -->\n[\s\S]*?<!-- end of section \1 -->\n/g;

/** Puts a section in the place of the one of that name, or at the end. */
export async function writeSection(file: string, name: string, text: string): Promise<void> {
  const before = await readFile(file, 'utf8').catch(() => '');
  const section = `<!-- section ${name} -->\n${text.trimEnd()}\n<!-- end of section ${name} -->\n`;
  const found = [...before.matchAll(pattern)].find((match) => match[1] === name);
  await writeFile(
    file,
    found ? before.replace(found[0], () => section) : `${before.trimEnd()}\n\n${section}`,
  );
}

/** All but the sections. */
export async function writeMain(file: string, text: string): Promise<void> {
  const before = await readFile(file, 'utf8').catch(() => '');
  const sections = [...before.matchAll(pattern)].map((match) => match[0]);
  await writeFile(file, [text.trimEnd(), ...sections].join('\n\n').trimEnd().concat('\n'));
}
