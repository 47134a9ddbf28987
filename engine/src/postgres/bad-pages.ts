/** Pages of the source whose checksum is wrong: gathered while a backup goes on, and the error that it ends with. */
import { HelvinoError } from '../base/errors.ts';

export interface DamagedPage {
  readonly file: string;
  readonly block: number;
  readonly detail?: string;
}

/** So that a server with many bad pages does not fill our memory. */
const mostPages = 1000;

export class BadPages {
  readonly #pages: DamagedPage[] = [];

  get any(): boolean {
    return this.#pages.length > 0;
  }

  add(page: DamagedPage): void {
    if (this.#pages.length < mostPages) this.#pages.push(page);
  }

  /** SERVER_CORRUPT that names the first of them; all are in the context as `pages`. */
  error(message: string, cause?: HelvinoError): HelvinoError {
    const shown = this.#pages
      .slice(0, 5)
      .map(
        ({ file, block, detail }) => `${file} block ${block}${detail === undefined ? '' : ` (${detail})`}`,
      );
    const more = this.#pages.length > shown.length ? ` and ${this.#pages.length - shown.length} more` : '';
    return new HelvinoError('SERVER_CORRUPT', `${message}: ${shown.join(', ')}${more}`, {
      hint: 'earlier backups are good, keep them; docs/operations/damaged-pages.md says how to find the table and get it back; --no-verify-checksums takes a backup all the same',
      cause,
      context: { ...cause?.context, pages: this.#pages },
    });
  }
}
