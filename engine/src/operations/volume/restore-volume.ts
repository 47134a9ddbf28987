/**
 * `helvino restore --to-volume`: a stored volume into a new one, read back and compared, then verified by starting PostgreSQL
 * on it with the image that used it, without a network.
 */

import { Readable } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { type VolumeFacts, volumeFacts } from '../../catalog/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import type { Check } from '../drill/report.ts';
import { readStream } from '../logical/stored-stream.ts';
import { asked, type Engine, engineError, findVolume, helperPath, openEngine, withHelper } from './engine.ts';
import { startPostgresOn } from './start-postgres.ts';
import { VolumeArchive } from './volume-archive.ts';
import { archivePath } from './volume-backup.ts';

export interface RestoreVolumeOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly manifest: Manifest;
  /** The new volume. */
  readonly volume: string;
  /** As in DOCKER_HOST; undefined: what that says. */
  readonly engine?: string;
  /** The image to start PostgreSQL with; undefined: that of the container that had the volume. */
  readonly image?: string;
  /** Do not start PostgreSQL on it. */
  readonly start: boolean;
  readonly readyTimeoutMs: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface RestoreVolumeResult {
  readonly volume: string;
  readonly entries: number;
  readonly bytes: number;
  readonly checks: readonly Omit<Check, 'seconds'>[];
  readonly seconds: number;
}

/** Looks and refuses; changes nothing. Throws TARGET_NOT_EMPTY when there is a volume of that name. */
export async function planRestoreVolume(
  options: RestoreVolumeOptions,
): Promise<{ engine: Engine; facts: VolumeFacts }> {
  const facts = volumeFacts(options.manifest);
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(options.volume))
    throw new HelvinoError('USAGE', `"${options.volume}" cannot be the name of a Docker volume`);
  const engine = await openEngine(options.engine, options.env);
  if (await findVolume(engine, options.volume))
    throw new HelvinoError('TARGET_NOT_EMPTY', `the Docker engine has a volume "${options.volume}" already`, {
      hint: `restore into another name; or, if you can do without it: docker compose down, docker volume rm ${options.volume}`,
    });
  return { engine, facts };
}

/** Throws CHECK_FAILED when it is not what was stored, or PostgreSQL does not start on it: the volume is left to look at. */
export async function restoreVolume(options: RestoreVolumeOptions): Promise<RestoreVolumeResult> {
  const { clock, manifest, volume, progress } = options;
  const begun = clock.monotonic();
  progress.phase('asking the Docker engine');
  const { engine, facts } = await planRestoreVolume(options);
  const keys = await options.repository.dataKeys(manifest, options.identities);
  await asked(
    engine.place,
    engine.docker.createVolume({
      Name: volume,
      Driver: facts.driver,
      Labels: { ...facts.labels, 'io.helvino.backup': manifest.id },
    }),
  );
  const written = await fill(options, engine, keys).catch(async (thrown: unknown) => {
    await engine.docker
      .getVolume(volume)
      .remove()
      .catch(() => undefined);
    throw engineError(engine.place, thrown);
  });
  const checks = [compare(written, facts), ...(await started(options, engine, facts))];
  const failed = checks.find((check) => check.state === 'failed');
  if (failed)
    throw new HelvinoError(
      'CHECK_FAILED',
      `the volume ${volume} is restored, but ${failed.name}: ${failed.detail}`,
      {
        hint: `it is left to look at: docker volume rm ${volume} removes it`,
        context: { checks },
      },
    );
  const seconds = (clock.monotonic() - begun) / 1000;
  return { volume, entries: written.entries, bytes: manifest.totals.bytes, checks, seconds };
}

interface Written {
  readonly entries: number;
  readonly digest: string;
}

/** Writes it, and reads it back. */
async function fill(
  { repository, manifest, volume, progress, signal }: RestoreVolumeOptions,
  engine: Engine,
  keys: ReadonlyMap<string, Uint8Array>,
): Promise<Written> {
  return withHelper(engine, { volume, writable: true }, async (container) => {
    progress.phase(`writing the volume ${volume}`, manifest.totals.bytes, 'bytes');
    const stored = readStream(repository, { manifest, keys, path: archivePath });
    const source = Readable.from(
      (async function* () {
        for await (const bytes of stored) {
          signal.throwIfAborted();
          progress.advance(bytes.length);
          yield bytes;
        }
      })(),
      { objectMode: false },
    );
    // What breaks on our side must end the request, which would wait for the rest for ever.
    const stop = new AbortController();
    let broken: unknown;
    source.once('error', (error) => {
      broken = error;
      stop.abort();
    });
    try {
      await container.putArchive(source, { path: '/', abortSignal: stop.signal });
    } catch (thrown) {
      throw broken ?? thrown;
    }
    progress.phase('reading back', manifest.totals.bytes, 'bytes');
    const back = await container.getArchive({ path: helperPath });
    const archive = new VolumeArchive();
    for await (const bytes of back as AsyncIterable<Uint8Array>) {
      signal.throwIfAborted();
      archive.push(bytes);
      progress.advance(bytes.length);
    }
    return archive.end();
  });
}

function compare(written: Written, facts: VolumeFacts): Omit<Check, 'seconds'> {
  const equal = written.digest === facts.digest;
  const detail = equal
    ? `${written.entries} entries, read back: equal to what was stored`
    : `${written.entries} entries, not what was stored (${facts.entries})`;
  return { name: 'content', state: equal ? 'passed' : 'failed', detail };
}

async function started(
  options: RestoreVolumeOptions,
  engine: Engine,
  facts: VolumeFacts,
): Promise<Omit<Check, 'seconds'>[]> {
  if (!facts.postgres) return [];
  const name = 'PostgreSQL starts';
  if (!options.start) return [{ name, state: 'unproven', detail: 'it was not asked for' }];
  return [{ name, ...(await startPostgresOn({ ...options, engine, facts, postgres: facts.postgres })) }];
}
