/** Drill plans in `helvino.yaml`: what the monthly exercise does, and what it has to find. */
import * as z from 'zod';
import { parseCron } from '../base/cron.ts';
import { duration } from './quantities.ts';
import { secret } from './secret.ts';

/** Checks that a plan can leave out; they are then reported as unproven. */
const skippableChecks = [
  'stored WAL',
  'row counts',
  'content',
  'constraints',
  'sequences',
  'extensions',
  'schema',
  'amcheck',
  'page checksums',
] as const;

const schedule = z.string().superRefine((text, context) => {
  try {
    parseCron(text);
  } catch (thrown) {
    context.addIssue((thrown as Error).message);
  }
});

const valueOrSecret = z
  .union([z.string(), secret])
  .describe('The value, or where it is: `{ env: NAME }`, `{ file: PATH }`.');

const databaseName = z
  .string()
  .min(1)
  .optional()
  .describe('Which database of the server; the one of its `connection`, else `postgres`.');

const directory = z.string().optional().describe('Where commands run; the folder of this file otherwise.');

const role = z
  .string()
  .min(1)
  .optional()
  .describe(
    'The role that `DATABASE_URL` names, with a password made for the drill; the superuser otherwise.',
  );

const env = z
  .record(z.string(), valueOrSecret)
  .prefault({})
  .describe(
    'Variables for its commands. Of the environment they get only `PATH`, `HOME`, `LANG` and `TMPDIR`; `DATABASE_URL` is given.',
  );

const assertion = z.strictObject({
  name: z.string().min(1).describe('What the report calls it.'),
  database: databaseName,
  sql: z.string().min(1).describe('A query with one value in one row. It runs read-only.'),
  expect: z
    .union([
      z.string(),
      z.number(),
      z.boolean(),
      z.null(),
      z
        .strictObject({ min: z.number().optional(), max: z.number().optional() })
        .refine(
          ({ min, max }) => (min ?? max) !== undefined && (min ?? -Infinity) <= (max ?? Infinity),
          'give `min`, `max`, or both, with `min` not above `max`: else it says nothing',
        ),
    ])
    .default(true)
    .describe('The value, or `{ min, max }` for a number.'),
});

const heartbeat = z
  .strictObject({
    database: databaseName,
    table: z.string().min(1).optional().describe('The table that something writes to all the time.'),
    column: z
      .string()
      .min(1)
      .optional()
      .describe('Its column with the time; one without a zone is taken for UTC.'),
    sql: z.string().min(1).optional().describe('Instead of both: a query with the newest time.'),
    maxAge: duration.describe('How much older than the wanted moment the newest row may be.'),
  })
  .refine(
    ({ table, column, sql }) => (sql === undefined) === (table !== undefined && column !== undefined),
    'give `table` and `column`, or `sql`',
  )
  .describe('A row that proves the recovery point.');

const migrations = z.strictObject({
  database: databaseName,
  role,
  deploy: z
    .string()
    .min(1)
    .optional()
    .describe('Brings the restored database up to date first, e.g. `npx prisma migrate deploy`.'),
  check: z
    .string()
    .min(1)
    .describe('Ends with status 0 when no migration is missing, e.g. `npx prisma migrate status`.'),
  directory,
  env,
  timeout: duration.prefault('10min').describe('How long each of them may take.'),
});

const httpCheck = z.strictObject({
  path: z
    .string()
    .regex(/^\//, 'a path begins with /')
    .describe('What to get; after `url` of the application, e.g. `/health`.'),
  headers: z
    .record(z.string(), valueOrSecret)
    .prefault({})
    .describe('Headers; a value can be in a variable or file: `{ env: NAME }`.'),
  status: z.number().int().min(100).max(599).default(200).describe('The status that must come.'),
  json: z
    .record(
      z.string(),
      z.union([z.string(), z.number(), z.boolean(), z.null()]).describe('The value at this path.'),
    )
    .prefault({})
    .describe(
      'What the answer must hold, by path: `status: ok`, `org.key: demo`, `items.0.id: 1`, `items.length: 3`.',
    ),
});

const application = z.strictObject({
  database: databaseName,
  role,
  command: z
    .string()
    .min(1)
    .describe('Starts it, and runs as long as it does. It gets `DATABASE_URL` and `PORT`.'),
  directory,
  env,
  port: z.number().int().min(1).max(65535).optional().describe('Its port; any free one otherwise.'),
  url: z.url().optional().describe('Where it answers; `http://127.0.0.1:PORT` otherwise.'),
  readyPath: z
    .string()
    .regex(/^\//, 'a path begins with /')
    .default('/health')
    .describe('Asked until it answers.'),
  readyTimeout: duration.prefault('2min').describe('How long it may take until it answers.'),
  guide: z
    .strictObject({
      internalKey: secret.describe('The value of `x-internal-key`.'),
      org: z.string().min(1).default('demo').describe('The organization to ask for.'),
    })
    .optional()
    .describe(
      "For Helvino's API: the requests of the guide's checklist, `/api/org/ORG/settings` and `/conversations`.",
    ),
  http: z
    .array(httpCheck)
    .optional()
    .describe('Requests, and what must come. Without it: `/health`, and those of `guide`.'),
});

export const drillPlan = z.strictObject({
  database: z.string().optional().describe('Which of `databases`; not needed when there is one.'),
  copy: z.string().optional().describe('Which copy of its repository to read; the first otherwise.'),
  kind: z.enum(['physical', 'logical', 'volume']).default('physical').describe('Which kind of backup.'),
  target: z
    .string()
    .default('latest')
    .describe(
      'How far to recover: `latest`, the end of stored WAL; `newest`, the end of its last whole segment; `random`, any moment of `window`; `backup`, the end of the newest backup; or what `restore --to` takes.',
    ),
  window: duration.prefault('7d').describe('For `random`: how far back.'),
  schedule: schedule
    .optional()
    .describe('When it is due, as cron writes it: `0 5 1 * *`; `helvino drill plans` shows the next time.'),
  timeZone: z
    .string()
    .default('UTC')
    .refine((zone) => {
      try {
        return new Intl.DateTimeFormat('en', { timeZone: zone }) !== undefined;
      } catch {
        return false;
      }
    }, 'is no time zone: write one like Europe/Berlin or UTC')
    .describe('The clocks of `schedule`.'),
  objectives: z
    .strictObject({
      rto: duration.optional().describe('The most that it may take until the service is back, e.g. `4h`.'),
      rpo: duration.optional().describe('The most that may be lost, e.g. `24h`.'),
    })
    .prefault({})
    .describe('What is measured is compared with it: missed is failed.'),
  skip: z
    .array(z.enum(skippableChecks))
    .default([])
    .describe('Checks to leave out. They are reported as unproven.'),
  migrations: migrations.optional().describe('Are all migrations applied?'),
  assertions: z.array(assertion).default([]).describe('Queries, and what they must answer.'),
  heartbeat: heartbeat.optional(),
  application: application.optional().describe('Started against the restored database, and asked over HTTP.'),
  operator: z.string().min(1).optional().describe('Who runs it, for the report; `--operator` wins.'),
  approver: z.string().min(1).optional().describe('Who has approved it; `--approver` wins.'),
});

export type DrillPlan = z.infer<typeof drillPlan>;
