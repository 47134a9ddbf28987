/** The only door to environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

export function processEnvironment(): Environment {
  return process.env;
}

/** What Helvino itself reads; `docs/reference/configuration.md` shows it. A secret's variable is named in helvino.yaml. */
export const environmentVariables = {
  HELVINO_CONFIG: 'The configuration file, where `--config` is not given.',
  HELVINO_IDENTITY: 'The recovery identity itself, where `--identity` is not given.',
  HELVINO_IDENTITY_FILE: 'The file that holds the recovery identity, where `--identity` is not given.',
  HELVINO_CACHE: 'Where fetched server programs are kept; `$XDG_CACHE_HOME/helvino` otherwise.',
  'DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH': 'The Docker engine, as the docker command reads them.',
  HELVINO_DEBUG: 'When set, errors come with their stack.',
  'PGHOST, PGPORT, PGUSER …': 'What the connection settings do not say, as libpq reads it.',
} as const;
