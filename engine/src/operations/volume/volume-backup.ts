/**
 * `helvino backup --kind volume`: a named volume of a Docker engine, streamed into the repository. Containers that use it are
 * stopped while it is read and started again as soon as it was, or left running: then nobody can say that it is consistent.
 */

import { HelvinoError } from '../../base/errors.ts';
import type { VolumeFacts } from '../../catalog/index.ts';
import { Lease, type Manifest, WorkIndex } from '../../repository/index.ts';
import { openPool } from '../backup/open-pool.ts';
import { commitStreams, type StreamBackupOptions } from '../logical/commit-streams.ts';
import { StoredStream, type StreamTarget, streamTarget } from '../logical/stored-stream.ts';
import { newBackupId } from '../new-backup-id.ts';
import type { StoppedContainers } from '../runs/notes.ts';
import type { Run } from '../runs/record-run.ts';
import {
  asked,
  type Engine,
  engineError,
  helperPath,
  neededVolume,
  openEngine,
  usersOf,
  type VolumeUser,
  withHelper,
} from './engine.ts';
import { startLeft } from './left-containers.ts';
import { type ArchiveFacts, VolumeArchive } from './volume-archive.ts';

export interface VolumeBackupOptions extends StreamBackupOptions {
  readonly volume: string;
  /** As in DOCKER_HOST; undefined: what that says. */
  readonly engine?: string;
  /** Stop the containers that use it while it is read. */
  readonly stop: boolean;
  /** Seconds until a container that does not stop is killed. */
  readonly stopTimeout: number;
  /** Told before a container is stopped, and when all run again. */
  readonly run: Run;
}

/** The stream in the backup. */
export const archivePath = 'volume.tar';

/** Throws ENGINE, USAGE for a volume that is not there, STORAGE_*, PROTOCOL for an archive that broke off. */
export async function volumeBackup(options: VolumeBackupOptions): Promise<Manifest> {
  const { repository, clock, progress, volume } = options;
  const started = clock.now();
  const id = await newBackupId(repository, clock);
  await using cleanup = new AsyncDisposableStack();
  progress.phase('asking the Docker engine');
  const engine = await openEngine(options.engine, options.env);
  const { Driver: driver, Labels: labels } = await neededVolume(engine, volume);
  await startLeft(repository, options.database, { engine, progress });

  const lease = await Lease.acquire(repository.driver, clock, { kind: 'backup', uses: [] });
  cleanup.defer(() => lease.release());
  const index = new WorkIndex();
  cleanup.defer(() => index.close());
  const pool = await openPool(options);
  cleanup.defer(() => pool.close());
  const target = streamTarget(pool, index, Math.floor(started.getTime() / 1000));

  const reader = new VolumeReader(options, engine);
  const read = await reader.read(target);
  progress.phase('finishing');
  const facts: VolumeFacts = {
    method: 'volume',
    volume,
    driver,
    labels: labels ?? {},
    engine: `${engine.version} at ${engine.place}`,
    containers: read.users.map(({ id, ...user }) => user),
    quiet: read.quiet,
    postgres: read.archive.postgres && { ...read.archive.postgres, superuser: read.superuser },
    entries: read.archive.entries,
    digest: read.archive.digest,
    warnings: read.warnings,
  };
  const streams = { pool, index, target, lease, sections: {}, facts };
  const manifest = await commitStreams({ ...options, id, started, ...streams });
  const [first] = reader.notStarted;
  if (first === undefined) return manifest;
  throw new HelvinoError(
    'ENGINE',
    `backup ${manifest.id} is complete, but ${first} could not be started again`,
    {
      hint: `start it now: docker start ${reader.notStarted.join(' ')}`,
      context: { backup: manifest.id, containers: reader.notStarted },
    },
  );
}

interface ReadVolume {
  readonly archive: ArchiveFacts;
  readonly users: readonly VolumeUser[];
  readonly quiet: boolean;
  readonly superuser: string | undefined;
  readonly warnings: string[];
}

/** Killed by the engine, because it did not stop in time. */
const killed = 137;

class VolumeReader {
  readonly #options: VolumeBackupOptions;
  readonly #engine: Engine;
  readonly #warnings: string[] = [];
  readonly notStarted: string[] = [];

  constructor(options: VolumeBackupOptions, engine: Engine) {
    this.#options = options;
    this.#engine = engine;
  }

  async read(target: StreamTarget): Promise<ReadVolume> {
    const { volume, stop } = this.#options;
    const users = await usersOf(this.#engine, volume);
    const running = users.filter((user) => user.running);
    if (!stop && running.length > 0)
      this.#warn(
        `${names(running)} ran while the volume was read: what PostgreSQL wrote meanwhile is torn, and the copy may not start, or start with wrong data; leave out --no-stop, or take a physical backup`,
      );
    const stopped: VolumeUser[] = [];
    try {
      if (stop && running.length > 0) await this.#stopAll(running, stopped);
      const archive = await this.#archive(target);
      const busy = (await usersOf(this.#engine, volume)).filter((user) => user.running);
      if (stop && busy.length > 0) this.#warn(`${names(busy)} was started while the volume was read`);
      for (const link of archive.links)
        this.#warn(
          `${link} is a symbolic link: what it leads to is not in the volume, and not in the backup`,
        );
      return {
        archive,
        users,
        quiet: busy.length === 0 && (stop || running.length === 0),
        superuser: await this.#superuser(users),
        warnings: this.#warnings,
      };
    } finally {
      // However it ended, and the last one stopped first.
      for (const user of stopped.reverse()) await this.#start(user);
      if (stopped.length > 0 && this.notStarted.length === 0) await this.#allStarted();
    }
  }

  /** Noted before: whoever comes after a run that was killed must know what to start. */
  async #stopAll(running: readonly VolumeUser[], stopped: VolumeUser[]): Promise<void> {
    const { docker, place } = this.#engine;
    const containers: StoppedContainers['containers'] = [];
    for (const { id, name } of running) {
      const { State: state, HostConfig: host } = await asked(place, docker.getContainer(id).inspect());
      if (host.AutoRemove)
        throw new HelvinoError('ENGINE', `${name} was made with --rm: once stopped it would be gone`, {
          hint: 'make it without --rm, stop it yourself, or use --no-stop',
          context: { container: name },
        });
      containers.push({ id, name, startedAt: state.StartedAt });
    }
    await this.#options.run.stopping({ engine: place, containers });
    for (const user of running) await this.#stop(user, stopped);
  }

  /** A note that is missing makes the next run look at containers that run: no harm. */
  async #allStarted(): Promise<void> {
    try {
      await this.#options.run.started();
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError)) throw thrown;
      this.#warn(`that the containers run again could not be noted in the repository: ${thrown.message}`);
    }
  }

  /** The official image makes the superuser of this name, with or without a container that runs. */
  async #superuser(users: readonly VolumeUser[]): Promise<string | undefined> {
    for (const { id } of users) {
      const { Config: config } = await asked(
        this.#engine.place,
        this.#engine.docker.getContainer(id).inspect(),
      );
      const said = config.Env?.find((variable) => variable.startsWith('POSTGRES_USER='));
      if (said) return said.slice('POSTGRES_USER='.length);
    }
    return undefined;
  }

  async #stop(user: VolumeUser, stopped: VolumeUser[]): Promise<void> {
    const { progress, stopTimeout, signal } = this.#options;
    signal.throwIfAborted();
    progress.phase(`stopping ${user.name}`);
    const container = this.#engine.docker.getContainer(user.id);
    stopped.push(user);
    await asked(this.#engine.place, container.stop({ t: stopTimeout }));
    const { State: state } = await asked(this.#engine.place, container.inspect());
    if (state.ExitCode === killed)
      this.#warn(
        `${user.name} did not stop within ${stopTimeout} s and was killed: the copy needs crash recovery`,
      );
  }

  /** A failure must not lose what was read: it is told at the end. */
  async #start(user: VolumeUser): Promise<void> {
    this.#options.progress.phase(`starting ${user.name}`);
    try {
      await this.#engine.docker.getContainer(user.id).start();
    } catch (thrown) {
      // Someone else has started it.
      if ((thrown as { statusCode?: number }).statusCode === 304) return;
      const { message } = engineError(this.#engine.place, thrown) as Error;
      this.#warn(`${user.name} was stopped and could not be started again: ${message}`);
      this.notStarted.push(user.name);
    }
  }

  async #archive(target: StreamTarget): Promise<ArchiveFacts> {
    const { volume, progress, signal } = this.#options;
    return withHelper(this.#engine, { volume, writable: false }, async (container) => {
      progress.phase(`reading the volume ${volume}`, undefined, 'bytes');
      const source = await asked(this.#engine.place, container.getArchive({ path: helperPath }));
      const archive = new VolumeArchive();
      const stream = new StoredStream(target, archivePath);
      try {
        await stream.writeAll(source as AsyncIterable<Uint8Array>, (bytes) => {
          signal.throwIfAborted();
          archive.push(bytes);
          progress.advance(bytes.length);
        });
      } catch (thrown) {
        throw engineError(this.#engine.place, thrown);
      }
      const facts = archive.end();
      await stream.end();
      return facts;
    });
  }

  #warn(message: string): void {
    this.#warnings.push(message);
    this.#options.progress.note('warn', message);
  }
}

function names(users: readonly VolumeUser[]): string {
  return users.map((user) => user.name).join(', ');
}
