/** Changes to helvino.yaml that keep comments and order. */
import { type Document, parseDocument } from 'yaml';
import { HelvinoError } from '../base/errors.ts';
import type { StorageInput } from './storage.ts';

export interface NewDatabase {
  readonly name: string;
  readonly connection: Readonly<Record<string, unknown>>;
  readonly repository: string;
}

export interface NewRepository {
  readonly name: string;
  readonly storage: StorageInput;
  readonly recipients: readonly string[];
  readonly catalogKeyFile: string;
}

/** A first file, with comments for its reader. */
export function newConfigText(options: { repository: NewRepository; database: NewDatabase }): string {
  const { repository, database } = options;
  return `# Helvino. All settings with their defaults: docs/reference/configuration.md
version: 1

repositories:
  ${repository.name}:
    storage: ${flow(repository.storage)}
    # Who can restore. The recovery identity that belongs to a recipient is kept elsewhere, never on this host.
    recipients:
${repository.recipients.map((recipient) => `      - ${recipient}`).join('\n')}
    # Opens structure (what is in a backup), not data.
    catalogKey: { file: ${JSON.stringify(repository.catalogKeyFile)} }

databases:
  ${database.name}:
    connection: ${JSON.stringify(database.connection)}
    repository: ${database.repository}
`;
}

function flow(value: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(value).map(
    ([key, one]) => `${key}: ${key === 'type' ? one : JSON.stringify(one)}`,
  );
  return `{ ${entries.join(', ')} }`;
}

/** Throws CONFIG_INVALID when the name is taken. */
export function addDatabase(text: string, database: NewDatabase): string {
  const document = read(text);
  if (document.hasIn(['databases', database.name])) {
    throw new HelvinoError('CONFIG_INVALID', `the configuration has a database "${database.name}"`, {
      hint: '`helvino doctor` checks it; for one more choose another name with --database',
    });
  }
  document.setIn(
    ['databases', database.name],
    document.createNode({ connection: database.connection, repository: database.repository }),
  );
  return document.toString({ lineWidth: 0 });
}

/** The caller has seen that the name is free. */
export function addRepository(
  text: string,
  { name, storage, recipients, catalogKeyFile }: NewRepository,
): string {
  const document = read(text);
  document.setIn(
    ['repositories', name],
    document.createNode({ storage, recipients: [...recipients], catalogKey: { file: catalogKeyFile } }),
  );
  return document.toString({ lineWidth: 0 });
}

export function setRecipients(text: string, repository: string, recipients: readonly string[]): string {
  const document = read(text);
  document.setIn(['repositories', repository, 'recipients'], document.createNode([...recipients]));
  return document.toString({ lineWidth: 0 });
}

function read(text: string): Document {
  const document = parseDocument(text);
  if (document.errors[0])
    throw new HelvinoError(
      'CONFIG_INVALID',
      `the configuration is not valid YAML: ${document.errors[0].message}`,
    );
  return document;
}
