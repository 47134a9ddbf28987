/** The encoder pool of one run. */
import { availableParallelism } from 'node:os';
import { type DataKeys, type EncoderOptions, EncoderPool, type Repository } from '../../repository/index.ts';

interface PoolOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  /** zstd level. */
  readonly level: number;
  readonly fetch?: EncoderOptions['fetch'];
}

/** Its workers start at once; they encode after `giveRunKey`. */
export function startPool({ repository, level, fetch }: PoolOptions): EncoderPool {
  const workers = Math.max(2, Math.min(8, availableParallelism()));
  return new EncoderPool({ driver: repository.driver, level, workers, fetch });
}

/** A data key of its own for each run, sealed to the recipients before it is used, and forgotten after it. What fails fails the pool. */
export async function giveRunKey(pool: EncoderPool, options: PoolOptions): Promise<void> {
  await pool.begin(runKey(options));
}

async function runKey({ repository, recipients }: PoolOptions): Promise<DataKeys> {
  const { key, keyId } = await repository.newDataKey(recipients);
  const { current, currentId } = repository.ring;
  return { dataKey: key, dataKeyId: keyId, catalogKey: current, catalogKeyId: currentId };
}

export async function openPool(options: PoolOptions): Promise<EncoderPool> {
  const pool = startPool(options);
  try {
    await giveRunKey(pool, options);
    pool.assertGood();
    return pool;
  } catch (thrown) {
    await pool.close();
    throw thrown;
  }
}
