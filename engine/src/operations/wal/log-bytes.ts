/** Stored WAL as bytes: opened with the recovery identity, pieces in order. */
import { HelvinoError } from '../../base/errors.ts';
import { coveringPieces } from '../../catalog/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import {
  type Identities,
  type LogPiece,
  listLog,
  logPieceKeyId,
  openLogPiece,
  type Repository,
} from '../../repository/index.ts';

export class StoredLog {
  readonly pieces: readonly LogPiece[];
  readonly #repository: Repository;
  readonly #identities: Identities;
  readonly #keys = new Map<string, Buffer>();

  private constructor(repository: Repository, identities: Identities, pieces: readonly LogPiece[]) {
    this.#repository = repository;
    this.#identities = identities;
    this.pieces = pieces;
  }

  static async open(repository: Repository, identities: Identities, database: string): Promise<StoredLog> {
    const pieces: LogPiece[] = [];
    for await (const piece of listLog(repository.driver, database)) pieces.push(piece);
    return new StoredLog(repository, identities, pieces);
  }

  /** Bytes [from, to) of a timeline, in runs. Throws STORAGE_NOT_FOUND when there is a gap, REPOSITORY_DAMAGED. */
  async *bytes({ line, from, to }: { line: number; from: bigint; to: bigint }): AsyncGenerator<Uint8Array> {
    const cover = coveringPieces(this.pieces, { line, from, to });
    if (cover === undefined) {
      throw new HelvinoError(
        'STORAGE_NOT_FOUND',
        `WAL of timeline ${line} from ${formatLsn(from)} to ${formatLsn(to)} is not stored without a gap`,
        {
          hint: '`helvino wal status` shows the ranges that are stored',
        },
      );
    }
    let at = from;
    for (const piece of cover) {
      const plain = await this.#open(piece);
      const end = piece.end < to ? piece.end : to;
      yield plain.subarray(Number(at - piece.begin), Number(end - piece.begin));
      at = end;
    }
  }

  async #open(piece: LogPiece): Promise<Uint8Array> {
    const sealed = await this.#repository.driver.get(piece.name);
    const keyId = logPieceKeyId(sealed, piece.name);
    let key = this.#keys.get(keyId);
    if (!key) {
      key = await this.#repository.dataKey(keyId, this.#identities);
      this.#keys.set(keyId, key);
    }
    return openLogPiece(sealed, piece.name, key);
  }
}
