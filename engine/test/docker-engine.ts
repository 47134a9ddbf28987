/**
 * A Docker engine of a test's own: dockerd (Debian: docker.io) on a socket in a temporary folder, without any network. Its
 * images are made here, from the PostgreSQL of the npm packages and the libraries of this machine; nothing is fetched.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { access, chmod, chown, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import { findBinaries } from '../src/postgres/index.ts';

const run = promisify(execFile);

/** For `test(…, { skip })`: false where an engine can be started, else a word why not. */
export async function withoutEngine(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'dockerd wants root';
  const found = await run('dockerd', ['--version']).catch(() => undefined);
  return found ? false : 'no dockerd: apt-get install docker.io';
}

export interface TestEngine extends AsyncDisposable {
  readonly docker: Docker;
  /** As DOCKER_HOST wants it. */
  readonly place: string;
  /** Ends it at once, as a power cut does. */
  kill(): Promise<void>;
}

export async function startTestEngine(): Promise<TestEngine> {
  const home = await mkdtemp(join(tmpdir(), 'hv-docker-'));
  const socket = join(home, 'docker.sock');
  const args = [
    `--data-root=${join(home, 'data')}`,
    `--exec-root=${join(home, 'exec')}`,
    `--pidfile=${join(home, 'pid')}`,
    `--host=unix://${socket}`,
    '--bridge=none',
    '--iptables=false',
    '--ip6tables=false',
  ];
  const child = spawn('dockerd', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => (log = (log + chunk).slice(-20_000)));
  const docker = new Docker({ socketPath: socket });
  const engine = new RunningEngine(child, { docker, home, place: `unix://${socket}` });
  for (let waited = 0; ; waited += 100) {
    if (await docker.ping().catch(() => undefined)) return engine;
    if (waited > 90_000 || child.exitCode !== null) {
      await engine[Symbol.asyncDispose]();
      throw new Error(`dockerd does not start: ${log}`);
    }
    await sleep(100);
  }
}

class RunningEngine implements TestEngine {
  readonly docker: Docker;
  readonly place: string;
  readonly #home: string;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess, { docker, home, place }: { docker: Docker; home: string; place: string }) {
    this.#child = child;
    this.docker = docker;
    this.#home = home;
    this.place = place;
  }

  async kill(): Promise<void> {
    // Its containerd is a child of its own, which a killed dockerd leaves behind.
    const containerd = Number(
      await readFile(join(this.#home, 'exec/containerd/containerd.pid'), 'utf8').catch(() => '0'),
    );
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await once(this.#child, 'exit');
    }
    if (containerd > 1) {
      try {
        process.kill(containerd, 'SIGKILL');
      } catch {
        // gone with its parent
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { Id } of await this.docker.listContainers({ all: true }).catch(() => []))
      await this.docker
        .getContainer(Id)
        .remove({ force: true })
        .catch(() => undefined);
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM');
      await once(this.#child, 'exit');
    }
    await this.kill();
    // Mounts that a killed engine has left.
    const mounts = (await readFile('/proc/mounts', 'utf8'))
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '');
    for (const place of mounts.filter((mount) => mount.startsWith(this.#home)).reverse())
      await run('umount', ['-l', place]).catch(() => undefined);
    await rm(this.#home, { recursive: true, force: true, maxRetries: 5 });
  }
}

export const dataPlace = '/var/lib/postgresql/data';
const account = 999;

/** An image like the official one in what matters here: makes a cluster where there is none, and starts it. */
export async function makePostgresImage(docker: Docker, name: string): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'hv-image-'));
  try {
    const { binDir } = await findBinaries(18, { env: {}, extraDirs: [], fetch: false });
    await cp(dirname(binDir), join(root, 'pg'), { recursive: true, dereference: true });
    for (const program of ['/bin/dash', join(root, 'pg/bin/postgres'), join(root, 'pg/bin/initdb')])
      await copyLibraries(program, root);
    await mkdir(join(root, 'bin'), { recursive: true });
    await cp('/bin/dash', join(root, 'bin/sh'), { dereference: true });
    await mkdir(join(root, 'etc'), { recursive: true });
    await writeFile(
      join(root, 'etc/passwd'),
      `root:x:0:0::/:/bin/sh\npostgres:x:${account}:${account}::/:/bin/sh\n`,
    );
    await writeFile(
      join(root, 'start'),
      '#!/bin/sh\n[ -s "$PGDATA/PG_VERSION" ] || /pg/bin/initdb -D "$PGDATA" -U "$POSTGRES_USER" -A trust -k --no-locale -E UTF8\nexec /pg/bin/postgres -D "$PGDATA" -c listen_addresses= -c unix_socket_directories=/tmp "$@"\n',
    );
    await chmod(join(root, 'start'), 0o755);
    await mkdir(join(root, 'tmp'));
    await chmod(join(root, 'tmp'), 0o1777);
    await mkdir(join(root, dataPlace), { recursive: true });
    await chown(join(root, dataPlace), account, account);
    await chmod(join(root, dataPlace), 0o700);
    const archive = `${root}.tar`;
    await run('tar', ['-C', root, '-c', '-f', archive, '.']);
    const changes = ['ENTRYPOINT ["/start"]', `USER ${account}`, `ENV PGDATA=${dataPlace}`];
    const [repo, tag] = name.split(':');
    try {
      const progress = await docker.importImage(createReadStream(archive), { repo, tag, changes });
      await new Promise<void>((resolve, reject) =>
        docker.modem.followProgress(progress, (error) => (error ? reject(error) : resolve())),
      );
    } finally {
      await rm(archive, { force: true });
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** To the same places as here. */
async function copyLibraries(program: string, root: string): Promise<void> {
  const { stdout } = await run('ldd', [program]);
  for (const [path] of stdout.matchAll(/\/\S+/g)) {
    const place = join(root, path);
    if (
      path.startsWith(root) ||
      (await access(place).then(
        () => true,
        () => false,
      ))
    )
      continue;
    await mkdir(dirname(place), { recursive: true });
    await cp(path, place, { dereference: true });
  }
}

/** A PostgreSQL in a container, on a named volume; its socket is in a folder of this machine. */
export async function startPostgresContainer(
  docker: Docker,
  options: {
    image: string;
    name: string;
    volume: string;
    sockets: string;
    user?: string;
    autoRemove?: boolean;
  },
): Promise<Docker.Container> {
  await mkdir(options.sockets, { recursive: true });
  await chmod(options.sockets, 0o777);
  const container = await docker.createContainer({
    Image: options.image,
    name: options.name,
    Env: [`POSTGRES_USER=${options.user ?? 'postgres'}`],
    HostConfig: {
      Binds: [`${options.volume}:${dataPlace}`, `${options.sockets}:/tmp`],
      NetworkMode: 'none',
      AutoRemove: options.autoRemove ?? false,
    },
  });
  await container.start();
  for (let waited = 0; !(await said(container, 'ready to accept connections')); waited += 100) {
    if (waited > 90_000) throw new Error('PostgreSQL does not start in the container');
    await sleep(100);
  }
  return container;
}

async function said(container: Docker.Container, words: string): Promise<boolean> {
  const { State: state } = await container.inspect();
  const log = (await container.logs({ stdout: true, stderr: true })).toString();
  if (!state.Running) throw new Error(`the container has ended: ${log}`);
  return log.includes(words);
}
