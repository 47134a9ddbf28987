/** What a configuration has that it should not, and that goes on to work: it did before it was looked for. */
import { secretIn, withoutSecrets } from './connection-secret.ts';
import type { Config } from './schema.ts';

interface ConfigWarning {
  /** `databases.shop.connection.url` */
  readonly path: string;
  readonly problem: string;
  readonly hint: string;
}

export function configWarnings(config: Config): ConfigWarning[] {
  return Object.entries(config.databases).flatMap(([name, { connection }]) => {
    const secret = connection.url === undefined ? undefined : secretIn(connection.url);
    if (secret === undefined) return [];
    return {
      path: `databases.${name}.connection.url`,
      problem: `holds a secret (${secret}), which this file should not`,
      hint: 'move it to a service of pg_service.conf, and name that as `service`',
    };
  });
}

/** To be shown: without the secrets that there are warnings of. */
export function showableConfig(config: Config): Config {
  const databases = Object.entries(config.databases).map(([name, database]) => {
    const { url } = database.connection;
    if (url === undefined) return [name, database];
    return [name, { ...database, connection: { ...database.connection, url: withoutSecrets(url) } }];
  });
  return { ...config, databases: Object.fromEntries(databases) as Config['databases'] };
}
