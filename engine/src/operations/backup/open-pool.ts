/** The encoder pool of one run. */
import { availableParallelism } from 'node:os';
import { EncoderPool, type Repository } from '../../repository/index.ts';

interface PoolOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  /** zstd level. */
  readonly level: number;
}

/** A data key of its own for each run, sealed to the recipients before it is used, and forgotten after it. */
export async function openPool({ repository, recipients, level }: PoolOptions): Promise<EncoderPool> {
  const { key, keyId } = await repository.newDataKey(recipients);
  return new EncoderPool({
    driver: repository.driver,
    dataKey: key,
    dataKeyId: keyId,
    catalogKey: repository.ring.current,
    catalogKeyId: repository.ring.currentId,
    level,
    workers: Math.max(2, Math.min(8, availableParallelism())),
  });
}
