import { BadPages, type FetchReport, fetchFileModule, sourceUnreadable } from '../../postgres/index.ts';

/** What encoders tell of the server's files that they read: fails the run at once, or at its end with all that was found. */
export class FileReports {
  readonly module = fetchFileModule;
  readonly #bad = new BadPages();

  /** Throws SOURCE_UNREADABLE, which fails the pool. */
  report(what: unknown): void {
    const report = what as FetchReport;
    if (report.kind === 'unreadable') {
      throw sourceUnreadable(report.path, report.why);
    }
    this.#bad.add({ file: report.path, block: report.block, detail: report.detail });
  }

  /** Throws SERVER_CORRUPT with `pages` in the context, as the server does when it sends its files. */
  assertGood(): void {
    if (this.#bad.any) throw this.#bad.error('pages of the server are damaged');
  }
}
