/**
 * Stored WAL as bytes: opened with the recovery identity, pieces in order.
 *
 * To ask the store for a piece has three answers. Present: here it is. Proven absent: the store was reached and has neither
 * this piece nor others with the same bytes (a stream replaces parts by the whole segment while we read): STORAGE_NOT_FOUND.
 * Unknown: the store was not reached, or broke off: its error goes to the caller, and is never taken for the end of WAL.
 */
import { HelvinoError } from '../../base/errors.ts';
import { coveringPieces } from '../../catalog/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import {
  type Identities,
  type LogPiece,
  LogPieces,
  logPieceKeyId,
  logPrefix,
  PieceOpener,
  type Repository,
} from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';

/** Bytes of a timeline. */
export interface LogRange {
  readonly line: number;
  readonly from: bigint;
  readonly to: bigint;
}

/** A stored piece and which of its bytes are wanted. */
export interface PieceRun {
  readonly piece: LogPiece;
  readonly from: bigint;
  readonly to: bigint;
}

interface FetchedRun extends PieceRun {
  readonly sealed: Uint8Array;
  readonly dataKey: Uint8Array;
}

/** Pieces fetched while one is being opened. */
const ahead = 3;

export class StoredLog {
  readonly #repository: Repository;
  readonly #identities: Identities;
  readonly #database: string;
  readonly #keys = new Map<string, Promise<Buffer>>();
  #pieces: LogPieces;

  private constructor(
    {
      repository,
      identities,
      database,
    }: { repository: Repository; identities: Identities; database: string },
    pieces: LogPieces,
  ) {
    this.#repository = repository;
    this.#identities = identities;
    this.#database = database;
    this.#pieces = pieces;
  }

  static async open(repository: Repository, identities: Identities, database: string): Promise<StoredLog> {
    return new StoredLog(
      { repository, identities, database },
      await LogPieces.read(repository.driver, database),
    );
  }

  /** In order of timeline and begin, as last listed. */
  get pieces(): LogPieces {
    return this.#pieces;
  }

  /** Timelines, in order. */
  get lines(): readonly number[] {
    return this.#pieces.lines;
  }

  /** Bytes [from, to) of a timeline, in runs, each valid until the next is asked for. Throws as `runs` and `fetch`, and REPOSITORY_DAMAGED. */
  async *bytes(range: LogRange): AsyncGenerator<Uint8Array> {
    const fetching = mapParallel(this.runs(range), ahead, async (run) => {
      try {
        return await this.fetch(run);
      } catch (thrown) {
        throw isLoss(thrown) ? lostRun(thrown, run) : thrown;
      }
    });
    const opener = new PieceOpener();
    for await (const fetched of fetching) for (const run of fetched) yield opened(opener, run);
  }

  /** The pieces that hold a range, in order. Throws STORAGE_NOT_FOUND when there is a gap. */
  runs({ line, from, to }: LogRange): Iterable<PieceRun> {
    const cover = coveringPieces(this.#pieces, { line, from, to });
    if (cover === undefined) {
      throw new HelvinoError(
        'STORAGE_NOT_FOUND',
        `WAL of timeline ${line} from ${formatLsn(from)} to ${formatLsn(to)} is not stored without a gap`,
        {
          hint: '`helvino wal status` shows the ranges that are stored',
          context: { object: `${logPrefix}${this.#database}` },
        },
      );
    }
    return runsOf(cover, { from, to });
  }

  /** The stored bytes of a run: of its piece or, if that is gone, of those that hold its bytes now. */
  async fetch(run: PieceRun): Promise<FetchedRun[]> {
    const { piece, from, to } = run;
    try {
      const sealed = await this.#repository.driver.get(piece.name);
      return [{ ...run, sealed, dataKey: await this.#dataKey(logPieceKeyId(sealed, piece.name)) }];
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || thrown.code !== 'STORAGE_NOT_FOUND') throw thrown;
      this.#pieces = await LogPieces.read(this.#repository.driver, this.#database);
      const instead = [...this.runs({ line: piece.line, from, to })];
      if (instead.some((other) => other.piece.name === piece.name)) throw thrown;
      const found: FetchedRun[] = [];
      for (const other of instead) found.push(...(await this.fetch(other)));
      return found;
    }
  }

  #dataKey(keyId: string): Promise<Buffer> {
    let key = this.#keys.get(keyId);
    if (!key) {
      key = this.#repository.dataKey(keyId, this.#identities);
      this.#keys.set(keyId, key);
    }
    return key;
  }
}

function* runsOf(cover: Iterable<LogPiece>, { from, to }: { from: bigint; to: bigint }): Generator<PieceRun> {
  let at = from;
  for (const piece of cover) {
    const run = { piece, from: at, to: piece.end < to ? piece.end : to };
    at = run.to;
    yield run;
  }
}

function opened(opener: PieceOpener, run: FetchedRun): Uint8Array {
  const { piece, from, to, sealed, dataKey } = run;
  try {
    const plain = opener.open(sealed, piece.name, dataKey);
    return plain.subarray(Number(from - piece.begin), Number(to - piece.begin));
  } catch (thrown) {
    throw isLoss(thrown) ? lostRun(thrown, run) : thrown;
  }
}

/** True when WAL is not there or not good, and trying again will not mend it. */
export function isLoss(
  thrown: unknown,
): thrown is HelvinoError & { readonly code: 'REPOSITORY_DAMAGED' | 'STORAGE_NOT_FOUND' } {
  return (
    thrown instanceof HelvinoError &&
    (thrown.code === 'REPOSITORY_DAMAGED' || thrown.code === 'STORAGE_NOT_FOUND')
  );
}

/** Says which WAL is lost, and the last point before it. */
export function lostRun(thrown: HelvinoError, { piece, from, to }: PieceRun): HelvinoError {
  const what = `WAL of timeline ${piece.line} from ${formatLsn(from)} to ${formatLsn(to)}`;
  return new HelvinoError(thrown.code, `${what} cannot be had: ${thrown.message}`, {
    hint: `take another copy of the repository, or recover to just before it: --to ${formatLsn(from)} --timeline ${piece.line}`,
    cause: thrown,
    context: {
      ...thrown.context,
      object: piece.name,
      timeline: piece.line,
      from: formatLsn(from),
      to: formatLsn(to),
    },
  });
}
