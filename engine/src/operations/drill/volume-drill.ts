/**
 * The drill of a Docker volume, without Docker: its archive is unpacked into a temporary place, and a server of its major
 * version is started on what it holds.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import { type VolumeFacts, volumeFacts } from '../../catalog/index.ts';
import {
  connectSql,
  findBinaries,
  freePort,
  type LocalServer,
  type Scratch,
  startLocalServer,
  verifyDirectoryChecksums,
} from '../../postgres/index.ts';
import { ChildProgram } from '../../streams/index.ts';
import { readStream } from '../logical/stored-stream.ts';
import { archiveRoot, VolumeArchive } from '../volume/volume-archive.ts';
import { archivePath } from '../volume/volume-backup.ts';
import type { Drill, RunOptions } from './drill.ts';
import {
  type ExaminationInput,
  exercise,
  exerciseChecks,
  listening,
  lossOfBackup,
  needsNetwork,
} from './examination.ts';
import { amcheckServer, DrillRecorder } from './recorder.ts';
import { type Check, findings } from './report.ts';

const checkNames = ['restore', 'consistency', 'start', 'amcheck', 'page checksums'];

type Outcome = Omit<Check, 'name' | 'seconds'>;

export class VolumeDrill implements Drill {
  readonly recorder: DrillRecorder;
  readonly #options: RunOptions;
  readonly #facts: VolumeFacts;
  #server: LocalServer | undefined;
  #port: number | undefined;
  #checksums = false;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#facts = volumeFacts(options.manifest);
    const names = this.#facts.postgres ? checkNames : checkNames.slice(0, 2);
    this.recorder = new DrillRecorder(options, [...names, ...exerciseChecks(options.exercise)]);
  }

  async all(scratch: Scratch): Promise<void> {
    const { recorder } = this;
    const folder = join(scratch.directory, 'volume');
    recorder.enter('restore');
    if (!(await recorder.check('restore', () => this.#unpack(folder)))) return;
    await recorder.check('consistency', () => this.#consistency());
    const { postgres } = this.#facts;
    if (!postgres) return;
    const data = join(folder, archiveRoot, postgres.path);
    recorder.enter('recover');
    await recorder.check('start', () => this.#start(data, scratch));
    if (this.#server === undefined) return;
    recorder.recovered();
    recorder.enter('verify');
    await recorder.check('amcheck', () => this.#amcheck(this.#server!));
    await exercise(this.#examination(this.#server, postgres.superuser ?? 'postgres'));
    recorder.enter('verify');
    await recorder.check('page checksums', () => this.#pages(data));
  }

  /** A volume says of its source only what is in it: row counts and schema were not recorded. */
  #examination(server: LocalServer, superuser: string): ExaminationInput {
    const { recorder } = this;
    const wanted = this.#options.wanted ?? recorder.started;
    return {
      options: this.#options,
      recorder,
      server,
      connection: server.connection,
      superuser,
      port: this.#port,
      later: undefined,
      dumped: false,
      wanted,
      until: false,
      loss: this.#options.exercise && lossOfBackup({ ended: this.#options.manifest.started }, wanted),
    };
  }

  log(): string {
    return this.#server?.log() ?? '';
  }

  async stop(): Promise<void> {
    await this.#server?.stop('immediate').catch(() => undefined);
  }

  /** By the system's tar; what it gets is compared with what was stored as it passes by. */
  async #unpack(folder: string): Promise<Outcome> {
    const { repository, manifest, identities, env, signal } = this.#options;
    await mkdir(folder, { mode: 0o755 });
    const keys = await repository.dataKeys(manifest, identities);
    const args = [
      '--extract',
      '--file=-',
      `--directory=${folder}`,
      '--no-same-owner',
      '--preserve-permissions',
    ];
    const tar = new ChildProgram({ name: 'tar', path: 'tar', args, env, signal, failure: 'TARGET_IO' });
    const archive = new VolumeArchive();
    await tar.feed(
      (async function* () {
        for await (const bytes of readStream(repository, { manifest, keys, path: archivePath })) {
          archive.push(bytes);
          yield bytes;
        }
      })(),
    );
    const { digest, entries } = archive.end();
    if (digest !== this.#facts.digest)
      return { state: 'failed', detail: 'the archive is not what was stored' };
    return { state: 'passed', detail: `${entries} entries, as they were stored` };
  }

  async #consistency(): Promise<Outcome> {
    const { quiet, containers, volume } = this.#facts;
    if (quiet) return { state: 'passed', detail: `nobody wrote to ${volume} while it was read` };
    const running = containers.filter((container) => container.running).map((container) => container.name);
    return {
      state: 'unproven',
      detail: `${running.join(', ')} may have written to ${volume} while it was read`,
    };
  }

  async #start(data: string, scratch: Scratch): Promise<Outcome> {
    const { binDirs, fetchServers, env, readyTimeoutMs, signal } = this.#options;
    const { major, superuser } = this.#facts.postgres!;
    const [link] = await linksIn(data);
    if (link !== undefined)
      return { state: 'unproven', detail: `${link} is a link, and what it leads to is not in the volume` };
    const binaries = await findBinaries(major, { env, extraDirs: binDirs, fetch: fetchServers });
    this.recorder.binaries = binaries;
    const runDir = scratch.directory;
    this.#port = needsNetwork(this.#options) ? await freePort() : undefined;
    this.#server = await startLocalServer({
      binaries,
      dataDir: data,
      runDir,
      user: superuser ?? 'postgres',
      settings: listening(this.#port),
      readyTimeoutMs,
      signal,
    });
    return { state: 'passed', detail: `PostgreSQL ${binaries.version} from ${binaries.binDir}` };
  }

  async #amcheck(server: LocalServer): Promise<Outcome> {
    try {
      const client = await connectSql(server.connection);
      const { rows } = await client.query<{ checksums: string }>('select current_setting($1) as checksums', [
        'data_checksums',
      ]);
      await client.end();
      this.#checksums = rows[0]!.checksums === 'on';
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || !/role ".*" does not exist/.test(thrown.message)) throw thrown;
      return { state: 'unproven', detail: `${thrown.message}: the name of its superuser is not known` };
    }
    return amcheckServer(server.connection, this.#options);
  }

  /** Needs a cleanly stopped server: all pages are on disk then, with their checksums. */
  async #pages(data: string): Promise<Outcome> {
    await this.#server!.stop('fast');
    if (!this.#checksums) return { state: 'unproven', detail: 'the cluster has no data checksums' };
    const { pages, files, bad } = await verifyDirectoryChecksums(data, this.#options);
    if (bad.length > 0)
      return {
        state: 'failed',
        detail: `${bad.length} of ${pages} pages`,
        findings: findings(bad.map((b) => `${b.path}, block ${b.block}`)),
      };
    return { state: 'passed', detail: `${pages} pages in ${files} files` };
  }
}

/** Tablespaces, and `pg_wal` where it was put elsewhere: followed, they would lead out of the temporary place. */
async function linksIn(data: string): Promise<string[]> {
  const entries = await readdir(data, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isSymbolicLink())
    .map((entry) => join(entry.parentPath, entry.name).slice(data.length + 1));
}
