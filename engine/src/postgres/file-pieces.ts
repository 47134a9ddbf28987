/** What an encoder is told, and tells, of a piece of a file of the server that it reads itself. */

/** The module that does it, in the encoder's thread: its address. */
export const fetchFileModule = new URL('./fetch-file.ts', import.meta.url).href;

export interface FilePiece {
  /** Open for reading until the piece is encoded; undefined: the bytes are there, and only their pages are verified. */
  readonly fd: number | undefined;
  readonly path: string;
  /** As in `openSourceFile`, for when the file has to be opened again. */
  readonly owner: number | undefined;
  readonly offset: number;
  /** Undefined: not verified. */
  readonly pages?: {
    /** Of the first page, counted through the files of the relation. */
    readonly block: number;
    /** Pages of this position and later are not looked at. */
    readonly since: bigint;
  };
}

export type FetchReport =
  | { readonly kind: 'bad-page'; readonly path: string; readonly block: number; readonly detail: string }
  | { readonly kind: 'unreadable'; readonly path: string; readonly why: string };
