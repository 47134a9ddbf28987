/**
 * A Docker engine, as far as volumes need it. Volumes are read and written through a container that is made and never
 * started, of an image that is empty: nothing is fetched from anywhere, and no program runs in it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';

import { archiveRoot } from './volume-archive.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Engine {
  readonly docker: Docker;
  /** `unix:///var/run/docker.sock` */
  readonly place: string;
  readonly version: string;
}

export interface VolumeUser {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly running: boolean;
  readonly destination: string;
}

/** `place`: as in DOCKER_HOST, which is what is used when it is undefined. Throws ENGINE, CONFIG_INVALID. */
export async function openEngine(place: string | undefined, env: Environment): Promise<Engine> {
  const where = place ?? (env.DOCKER_HOST || 'unix:///var/run/docker.sock');
  // Loaded here: it takes longer than all of ours.
  const { default: Docker } = await import('dockerode');
  const docker = new Docker(await connectionOptions(where, env));
  const { Version: version } = await asked(where, docker.version());
  return { docker, place: where, version };
}

async function connectionOptions(place: string, env: Environment): Promise<Docker.DockerOptions> {
  const socket = /^unix:\/\/(\/.+)$/.exec(place)?.[1];
  if (socket !== undefined) return { socketPath: socket };
  const match = /^(?:tcp|https?):\/\/([^:/]+|\[[^\]]+\])(?::(\d+))?\/?$/.exec(place);
  if (!match)
    throw new HelvinoError('CONFIG_INVALID', `"${place}" is not the place of a Docker engine`, {
      hint: 'unix:///var/run/docker.sock, or tcp://host:2376',
    });
  const tls = place.startsWith('https') || Boolean(env.DOCKER_TLS_VERIFY);
  const at = { host: match[1]!.replace(/^\[|\]$/g, ''), port: Number(match[2] ?? (tls ? 2376 : 2375)) };
  if (!tls) return { ...at, protocol: 'http' };
  const folder = env.DOCKER_CERT_PATH ?? join(env.HOME ?? '', '.docker');
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'cert.pem', 'key.pem'].map((name) =>
      readFile(join(folder, name)).catch((cause: unknown) => {
        throw new HelvinoError(
          'KEY_MISSING',
          `${join(folder, name)} cannot be read: ${(cause as Error).message}`,
          {
            cause,
            hint: 'DOCKER_CERT_PATH names the folder of ca.pem, cert.pem and key.pem',
          },
        );
      }),
    ),
  );
  return { ...at, protocol: 'https', ca, cert, key };
}

/** What goes wrong with the engine, as our error. */
export async function asked<T>(place: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    throw engineError(place, thrown);
  }
}

export function engineError(place: string, thrown: unknown): unknown {
  if (thrown instanceof HelvinoError) return thrown;
  const { statusCode, json, message } = thrown as {
    statusCode?: number;
    json?: { message?: string };
    message: string;
  };
  const code = systemCode(thrown);
  if (code === 'EACCES' || code === 'EPERM')
    return new HelvinoError('ENGINE', `the Docker engine at ${place} may not be used: ${message}`, {
      cause: thrown,
      hint: 'run as root, or as a user of the group docker',
    });
  if (statusCode === undefined && code !== undefined)
    return new HelvinoError('ENGINE', `the Docker engine at ${place} could not be reached: ${message}`, {
      cause: thrown,
      hint: 'is it running? DOCKER_HOST, or volume.engine in helvino.yaml, says where it is',
    });
  if (statusCode === undefined) return thrown;
  return new HelvinoError('ENGINE', `the Docker engine answered ${statusCode}: ${json?.message ?? message}`, {
    cause: thrown,
    context: { status: statusCode },
  });
}

/** Undefined when there is no such volume. */
export async function findVolume(
  { docker, place }: Engine,
  name: string,
): Promise<Docker.VolumeInspectInfo | undefined> {
  try {
    return await docker.getVolume(name).inspect();
  } catch (thrown) {
    if ((thrown as { statusCode?: number }).statusCode === 404) return undefined;
    throw engineError(place, thrown);
  }
}

/** Throws USAGE with the names of those that there are. */
export async function neededVolume(engine: Engine, name: string): Promise<Docker.VolumeInspectInfo> {
  const found = await findVolume(engine, name);
  if (found) return found;
  const { Volumes: all } = await asked(engine.place, engine.docker.listVolumes());
  const names = (all ?? []).map((volume) => volume.Name).filter((other) => !/^[0-9a-f]{64}$/.test(other));
  throw new HelvinoError('USAGE', `the Docker engine has no volume "${name}"`, {
    hint: names.length > 0 ? `it has ${names.sort().join(', ')}` : 'it has no named volume',
  });
}

/** Containers that have the volume, running or not. */
export async function usersOf({ docker, place }: Engine, volume: string): Promise<VolumeUser[]> {
  const found = await asked(place, docker.listContainers({ all: true, filters: { volume: [volume] } }));
  return found
    .filter((container) => container.Labels['io.helvino.helper'] === undefined)
    .map((container) => ({
      id: container.Id,
      name: (container.Names[0] ?? container.Id).replace(/^\//, ''),
      image: container.Image,
      running: ['running', 'paused', 'restarting'].includes(container.State),
      destination: container.Mounts.find((mount) => mount.Name === volume)?.Destination ?? '',
    }));
}

/** Where the volume is in the helper container. */
export const helperPath = `/${archiveRoot}`;

/** Calls `work` with a container that has the volume, and removes it with its image when that has ended, however. */
export async function withHelper<T>(
  { docker, place }: Engine,
  { volume, writable }: { volume: string; writable: boolean },
  work: (container: Docker.Container) => Promise<T>,
): Promise<T> {
  const image = `helvino-empty:${randomHex(8)}`;
  const [repo, tag] = image.split(':');
  // Two blocks of zeroes: an archive that holds nothing.
  const progress = await asked(place, docker.importImage(emptyArchive(), { repo, tag }));
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(progress, (error) => (error ? reject(engineError(place, error)) : resolve()));
  });
  try {
    const container = await asked(
      place,
      docker.createContainer({
        Image: image,
        Cmd: ['never-started'],
        NetworkDisabled: true,
        Labels: { 'io.helvino.helper': volume },
        HostConfig: { Binds: [`${volume}:${helperPath}${writable ? '' : ':ro'}`], NetworkMode: 'none' },
      }),
    );
    try {
      return await work(container);
    } finally {
      await container.remove({ force: true, v: false }).catch(() => undefined);
    }
  } finally {
    await docker
      .getImage(image)
      .remove({ force: true })
      .catch(() => undefined);
  }
}

function emptyArchive(): NodeJS.ReadableStream {
  return Readable.from([Buffer.alloc(1024)]);
}
