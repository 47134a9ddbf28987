import { HelvinoError } from '../../base/errors.ts';
import { corruptHint, type FetchReport, fetchFileModule } from '../../postgres/index.ts';

/** So that a server with many bad pages does not fill our memory. */
const mostBadPages = 1000;

/** What encoders tell of the server's files that they read: fails the run at once, or at its end with all that was found. */
export class FileReports {
  readonly module = fetchFileModule;
  readonly #bad: { file: string; block: number; detail: string }[] = [];

  /** Throws SOURCE_UNREADABLE, which fails the pool. */
  report(what: unknown): void {
    const report = what as FetchReport;
    if (report.kind === 'unreadable') {
      throw new HelvinoError('SOURCE_UNREADABLE', `${report.path} cannot be read: ${report.code}`, {
        hint: "check the disk of the server (EIO), and this user's rights",
        context: { path: report.path },
      });
    }
    if (this.#bad.length < mostBadPages)
      this.#bad.push({ file: report.path, block: report.block, detail: report.detail });
  }

  /** Throws SERVER_CORRUPT with `pages` in the context, as the server does when it sends its files. */
  assertGood(): void {
    if (this.#bad.length === 0) return;
    const shown = this.#bad
      .slice(0, 5)
      .map(({ file, block, detail }) => `${file} block ${block} (${detail})`);
    const more = this.#bad.length > shown.length ? ` and ${this.#bad.length - shown.length} more` : '';
    throw new HelvinoError('SERVER_CORRUPT', `pages of the server are damaged: ${shown.join(', ')}${more}`, {
      hint: corruptHint,
      context: { pages: this.#bad },
    });
  }
}
