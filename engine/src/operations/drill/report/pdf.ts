/** A page as PDF, through Chromium where it is installed: there is no better printer of HTML, and no other is needed. */
import { access, constants, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { asHelvinoError, HelvinoError } from '../../../base/errors.ts';
import { ChildProgram } from '../../../streams/index.ts';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
const patience = 180_000;

type Env = Readonly<Record<string, string | undefined>>;

/** The first of its names on `PATH`. */
export async function findChromium(env: Env): Promise<string | undefined> {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    for (const name of names) {
      const path = join(folder, name);
      const there = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (folder !== '' && there) return path;
    }
  }
  return undefined;
}

/** Throws TARGET_IO with what it said. */
export async function htmlToPdf(
  html: string,
  { chromium, env, signal }: { chromium: string; env: Env; signal: AbortSignal },
): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'helvino-pdf-'));
  try {
    const [page, pdf] = [join(folder, 'report.html'), join(folder, 'report.pdf')];
    await writeFile(page, html, { mode: 0o600 });
    const args = [
      '--headless',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-extensions',
      // As root it refuses its sandbox. The page is our own, has no scripts, and may load nothing.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      `--user-data-dir=${join(folder, 'profile')}`,
      '--no-pdf-header-footer',
      `--print-to-pdf=${pdf}`,
      pathToFileURL(page).href,
    ];
    const late = AbortSignal.timeout(patience);
    const child = new ChildProgram({
      name: 'Chromium',
      path: chromium,
      args,
      env: { ...env, HOME: folder },
      signal: AbortSignal.any([signal, late]),
      failure: 'TARGET_IO',
    });
    child.stdout.resume();
    await child.ended.catch((thrown: unknown) => {
      if (!late.aborted || signal.aborted) throw asHelvinoError(thrown);
      throw new HelvinoError('TARGET_IO', `${chromium} did not print the page within ${patience / 1000} s`);
    });
    const bytes = await readFile(pdf);
    if (bytes.toString('latin1', 0, 5) !== '%PDF-')
      throw new HelvinoError('TARGET_IO', `what ${chromium} wrote is no PDF`);
    return bytes;
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
