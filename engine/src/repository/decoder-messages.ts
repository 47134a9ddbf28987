/** What the decoder pool and its workers say to each other. */

/** Where a part of a chunk is to be written. */
export interface DecodedPiece {
  readonly path: string;
  /** Byte offset in the file. */
  readonly at: number;
  /** Byte offset in the plain chunk. */
  readonly start: number;
  readonly length: number;
}

export interface DecodeChunk {
  readonly pack: string;
  readonly keyId: string;
  /** Where it was sealed, if it was copied. */
  readonly origin?: { readonly pack: string; readonly index: number };
  readonly index: number;
  /** Where the stored bytes begin in the shared buffer. */
  readonly at: number;
  readonly stored: number;
  readonly raw: number;
  /** Under which catalog key's content hash the hashes here are; without it they are not checked. */
  readonly hashKeyId?: string;
  /** Checked when given. */
  readonly storedHash?: Uint8Array;
  /** Checked when given and the data key is known. */
  readonly segments?: readonly { readonly length: number; readonly hash: Uint8Array }[];
  readonly pieces: readonly DecodedPiece[];
}

export interface DecodeJob {
  readonly job: number;
  readonly buffer: number;
  readonly chunks: readonly DecodeChunk[];
  /** Read what is in the file first, and write only if it differs. */
  readonly compare: boolean;
}

export interface ChunkProblem {
  readonly pack: string;
  readonly index: number;
  readonly why: string;
}

export interface FromDecoder {
  readonly job: number;
  readonly problems: readonly ChunkProblem[];
  /** Bytes written to files. */
  readonly written: number;
  /** How many of them are in the page cache still. */
  readonly cached: number;
  /** A failure that is not the repository's: writing the target. */
  readonly failure?: { readonly code: string; readonly message: string; readonly path: string };
}
