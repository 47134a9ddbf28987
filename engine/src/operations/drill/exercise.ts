/** What a drill plan of the configuration asks for, with its secrets read and its defaults filled in. */
import { resolve } from 'node:path';
import {
  type DatabaseConfig,
  type DrillPlan,
  type Environment,
  readSecret,
  type SecretSource,
} from '../../config/index.ts';
import { resolveConnection } from '../../postgres/index.ts';
import type { Objectives } from './report.ts';

export interface Assertion {
  readonly name: string;
  readonly database: string;
  readonly sql: string;
  readonly expect: DrillPlan['assertions'][number]['expect'];
}

export interface Heartbeat {
  readonly database: string;
  readonly sql: string;
  readonly maxAgeSeconds: number;
}

/** Where and how commands run. */
export interface CommandPlace {
  readonly database: string;
  /** Whom `DATABASE_URL` names; undefined: the superuser. */
  readonly role: string | undefined;
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Values that must not be in a report, whoever prints them. */
  readonly secrets: readonly string[];
}

export interface Migrations extends CommandPlace {
  readonly deploy: string | undefined;
  readonly check: string;
  readonly timeoutMs: number;
}

export interface HttpCheck {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: number;
  readonly json: Readonly<Record<string, string | number | boolean | null>>;
}

export interface Application extends CommandPlace {
  readonly command: string;
  readonly port: number | undefined;
  readonly url: string | undefined;
  readonly readyPath: string;
  readonly readyTimeoutMs: number;
  readonly http: readonly HttpCheck[];
}

export interface Exercise {
  readonly plan: string;
  readonly skip: readonly string[];
  readonly objectives: Objectives;
  readonly assertions: readonly Assertion[];
  readonly heartbeat: Heartbeat | undefined;
  readonly migrations: Migrations | undefined;
  readonly application: Application | undefined;
}

export interface ExerciseSource {
  readonly name: string;
  readonly plan: DrillPlan;
  readonly database: DatabaseConfig;
  readonly env: Environment;
  /** Of the configuration. */
  readonly directory: string;
}

/** Throws KEY_MISSING for a secret that is not there. */
export async function exerciseOf(source: ExerciseSource): Promise<Exercise> {
  const { plan } = source;
  const { url, service } = source.database.connection;
  const main = (await resolveConnection({ url, service }, source.env)).database;
  const databaseOf = (part: { readonly database?: string | undefined }) => part.database ?? main;
  const { heartbeat, migrations, application } = plan;
  return {
    plan: source.name,
    skip: plan.skip,
    objectives: { rtoSeconds: plan.objectives.rto, rpoSeconds: plan.objectives.rpo },
    assertions: plan.assertions.map((one) => ({ ...one, database: databaseOf(one) })),
    heartbeat: heartbeat && {
      database: databaseOf(heartbeat),
      sql: heartbeat.sql ?? `select max(${heartbeat.column}) from ${heartbeat.table}`,
      maxAgeSeconds: heartbeat.maxAge,
    },
    migrations: migrations && {
      ...(await placeOf(source, migrations, databaseOf(migrations))),
      deploy: migrations.deploy,
      check: migrations.check,
      timeoutMs: migrations.timeout * 1000,
    },
    application: application && {
      ...(await placeOf(source, application, databaseOf(application))),
      command: application.command,
      port: application.port,
      url: application.url,
      readyPath: application.readyPath,
      readyTimeoutMs: application.readyTimeout * 1000,
      http: await httpChecks(source, application),
    },
  };
}

type Values = Readonly<Record<string, string | SecretSource>>;

async function placeOf(
  source: ExerciseSource,
  part: { readonly directory?: string | undefined; readonly role?: string | undefined; readonly env: Values },
  database: string,
): Promise<CommandPlace> {
  const env = await plainValues(source, part.env);
  const secrets = Object.entries(part.env).flatMap(([name, value]) =>
    typeof value === 'string' ? [] : [env[name]!],
  );
  const directory = resolve(source.directory, part.directory ?? '');
  return { database, role: part.role, directory, env, secrets };
}

async function plainValues(
  { env, directory }: ExerciseSource,
  values: Values,
): Promise<Record<string, string>> {
  const plain: Record<string, string> = {};
  for (const [name, value] of Object.entries(values))
    plain[name] =
      typeof value === 'string'
        ? value
        : (await readSecret(value, { env, directory, what: name })).text.trim();
  return plain;
}

/** Without any of its own: health, and what the guide's checklist asks of Helvino's API. */
async function httpChecks(
  source: ExerciseSource,
  { http, guide, readyPath }: NonNullable<DrillPlan['application']>,
): Promise<HttpCheck[]> {
  if (http)
    return Promise.all(
      http.map(async (one) => ({ ...one, headers: await plainValues(source, one.headers) })),
    );
  const health: HttpCheck = { path: readyPath, headers: {}, status: 200, json: {} };
  if (!guide) return [health];
  const { org } = guide;
  const { internalKey } = await plainValues(source, { internalKey: guide.internalKey });
  return [
    { ...health, json: { status: 'ok' } },
    {
      ...health,
      path: `/api/org/${encodeURIComponent(org)}/settings`,
      json: { key: org },
      headers: { 'x-internal-key': internalKey! },
    },
    { ...health, path: '/conversations', headers: { 'x-org-key': org } },
  ];
}
