/** What the log opener pool and its workers say to each other. */

/** Where a part of a piece is to be written. */
export interface LogSlice {
  /** The file is there already. */
  readonly path: string;
  /** Byte offset in the file. */
  readonly at: number;
  /** Byte offset in the plain piece. */
  readonly start: number;
  readonly length: number;
}

export interface OpenLogJob {
  readonly job: number;
  /** Of the object; its bytes are bound to it. */
  readonly name: string;
  readonly sealed: Uint8Array;
  readonly dataKey: Uint8Array;
  readonly slices: readonly LogSlice[];
}

export interface FromLogOpener {
  readonly job: number;
  /** A failure that is the repository's: why the piece cannot be opened. */
  readonly damage?: string;
  /** A failure that is not: writing the target. */
  readonly failure?: { readonly code: string; readonly message: string; readonly path: string };
}
