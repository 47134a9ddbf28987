/** One report as files: the record with its signature, and for people a page, a text and a PDF. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotWrite, HelvinoError } from '../../../base/errors.ts';
import { reportHtml } from './html.ts';
import type { KnownDrill } from './known-drills.ts';
import { reportMarkdown } from './markdown.ts';
import { findChromium, htmlToPdf } from './pdf.ts';
import { reportFile } from './view.ts';

export const reportFormats = ['json', 'html', 'md', 'pdf'] as const;
export type ReportFormat = (typeof reportFormats)[number];

export interface WriteReportOptions {
  readonly directory: string;
  /** Undefined: all; then a PDF only where Chromium is installed. */
  readonly formats: readonly ReportFormat[] | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

export interface WrittenReport {
  /** Paths. */
  readonly files: readonly string[];
  /** Why there is no PDF. */
  readonly noPdf?: string;
}

/** Throws TARGET_DENIED, TARGET_TOO_SMALL, TARGET_IO, and BINARIES_NOT_FOUND when a PDF was asked for and Chromium is not installed. */
export async function writeReport(
  { signed, retests }: KnownDrill,
  { directory, formats, env, signal }: WriteReportOptions,
): Promise<WrittenReport> {
  const { id, database } = signed.document.report;
  const wanted = new Set<ReportFormat>(formats ?? reportFormats);
  const chromium = wanted.has('pdf') ? await findChromium(env) : undefined;
  const noPdf = wanted.has('pdf') && !chromium ? 'Chromium is not installed' : undefined;
  if (noPdf && formats)
    throw new HelvinoError('BINARIES_NOT_FOUND', `a PDF needs Chromium, and none is on PATH`, {
      hint: 'install it (Debian: apt install chromium), or print the HTML file from any browser',
    });
  const html = reportHtml(signed, retests);
  const contents: [string, string | Buffer][] = [];
  if (wanted.has('json')) {
    contents.push(['json', signed.text]);
    if (signed.signature) contents.push(['sig', signed.signature]);
  }
  if (wanted.has('html')) contents.push(['html', html]);
  if (wanted.has('md')) contents.push(['md', reportMarkdown(signed, retests)]);
  if (chromium) contents.push(['pdf', await htmlToPdf(html, { chromium, env, signal })]);
  const files: string[] = [];
  for (const [ending, content] of contents) {
    const path = join(directory, `${reportFile(database, id)}.${ending}`);
    await write(directory, path, content);
    files.push(path);
  }
  return { files, noPdf };
}

async function write(directory: string, path: string, content: string | Buffer): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
    await writeFile(path, content);
  } catch (cause) {
    throw cannotWrite(path, cause);
  }
}
