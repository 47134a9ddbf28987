/**
 * A report as sections of facts, tables and lists, from which the page (HTML) and the text (Markdown) are made: both say the
 * same, and nothing that is not in the signed document, except which later drills repeated it. Pure.
 */
import { formatBytes, formatDuration, plural } from '../../../base/format.ts';
import { formatAge } from '../../../catalog/index.ts';
import { type Check, type DrillReport, recoveryTime } from '../report.ts';
import type { ReportDocument, SignedReport } from './document.ts';
import { notChecked } from './not-checked.ts';
import { predictionError } from './prediction.ts';

export type Tone = 'good' | 'bad' | 'open' | 'plain';

export interface Cell {
  readonly text: string;
  readonly tone?: Tone;
  /** Names, hashes, queries. */
  readonly code?: boolean;
  /** A part of a whole, from 0 to 1, that can be drawn. */
  readonly part?: number;
}

export type Block =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'facts'; readonly rows: readonly (readonly [string, Cell])[] }
  | { readonly kind: 'list'; readonly items: readonly string[] }
  | { readonly kind: 'code'; readonly text: string }
  | {
      readonly kind: 'table';
      readonly head: readonly Column[];
      readonly rows: readonly (readonly Cell[])[];
    };

export interface Column {
  readonly title: string;
  readonly right?: boolean;
  /** Percent of the whole; where one is said, all are. */
  readonly width?: number;
}

export interface Section {
  readonly title: string;
  readonly blocks: readonly Block[];
}

export interface ReportView {
  readonly title: string;
  readonly subtitle: string;
  readonly verdict: { readonly word: string; readonly sentence: string; readonly tone: Tone };
  /** What is seen first. */
  readonly figures: readonly {
    readonly label: string;
    readonly value: string;
    readonly note: string;
    readonly tone: Tone;
  }[];
  readonly sections: readonly Section[];
  readonly operator: string | undefined;
  readonly approver: string | undefined;
  readonly sha256: string;
  readonly id: string;
}

/** A later drill that repeated this one. */
export interface Retest {
  readonly id: string;
  readonly verdict: string;
  readonly finished: string;
}

export function reportView(signed: SignedReport, retests: readonly Retest[] = []): ReportView {
  const { document, sha256 } = signed;
  const { report } = document;
  return {
    title: 'Restore drill report',
    subtitle: `Database ${report.database} · drill ${report.id} · ${utc(report.started)}`,
    verdict: verdictOf(report),
    figures: figuresOf(document),
    sections: [
      { title: 'Conduct of the drill', blocks: [conduct(document)] },
      { title: 'What was restored', blocks: restored(document) },
      { title: 'Objectives against measurement', blocks: objectives(report) },
      ...phases(report),
      { title: 'Checks and results', blocks: checks(report) },
      { title: 'What was not checked', blocks: [{ kind: 'list', items: notChecked(report) }] },
      { title: 'Findings, remediation, re-test', blocks: issues(report, retests) },
      { title: 'Cadence', blocks: [cadence(document)] },
      { title: 'Integrity of this report', blocks: integrity(signed) },
    ],
    operator: report.operator,
    approver: report.approver,
    sha256,
    id: report.id,
  };
}

/** `2026-11-25 18:45:17 UTC` from ISO 8601. */
export function utc(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

const cell = (text: string, tone?: Tone): Cell => ({ text, tone });
const code = (text: string): Cell => ({ text, code: true });
const notRecorded: Cell = { text: 'not recorded', tone: 'open' };
const given = (text: string | undefined): Cell => (text ? cell(text) : notRecorded);

function verdictOf(report: DrillReport): ReportView['verdict'] {
  const failed = report.checks.filter(({ state }) => state === 'failed').map(({ name }) => name);
  const open = report.checks.filter(({ state }) => state === 'unproven').map(({ name }) => name);
  const backup = `backup ${report.backup} of ${report.database}`;
  switch (report.verdict) {
    case 'proven':
      return {
        word: 'Proven',
        tone: 'good',
        sentence: `On ${utc(report.started)} ${backup} was restored to a separate place and recovered, and all ${plural(report.checks.length, 'check')} passed.`,
      };
    case 'failed':
      return {
        word: 'Failed',
        tone: 'bad',
        sentence: `On ${utc(report.started)} the drill of ${backup} did not restore it as it should: ${failed.join(', ')} failed.`,
      };
    default:
      return {
        word: 'Partly proven',
        tone: 'open',
        sentence: `On ${utc(report.started)} ${backup} was restored and nothing failed, but not all could be checked: ${open.join(', ')} ${open.length === 1 ? 'is' : 'are'} unproven.`,
      };
  }
}

function figuresOf({ report }: ReportDocument): ReportView['figures'] {
  const passed = report.checks.filter(({ state }) => state === 'passed').length;
  const figure = (label: string, { measured, objective, tone }: Measurement) => ({
    label,
    value: measured === undefined ? 'not measured' : formatDuration(Math.max(0, measured)),
    note: objective === undefined ? 'no objective is set' : `objective ${formatDuration(objective)}`,
    tone,
  });
  return [
    figure('Recovery time', measurement(report, 'RTO')),
    figure('Recovery point', measurement(report, 'RPO')),
    {
      label: 'Restored',
      value: formatBytes(report.bytes),
      note: `as ${report.server?.split(' (')[0] ?? 'no server'}`,
      tone: 'plain',
    },
    {
      label: 'Checks passed',
      value: `${passed} of ${report.checks.length}`,
      note: counts(report.checks),
      tone: passed === report.checks.length ? 'good' : report.verdict === 'failed' ? 'bad' : 'open',
    },
  ];
}

function counts(all: readonly Check[]): string {
  const of = (state: Check['state']) => all.filter((check) => check.state === state).length;
  return `${of('failed')} failed, ${of('unproven')} unproven`;
}

interface Measurement {
  readonly measured: number | undefined;
  readonly objective: number | undefined;
  readonly tone: Tone;
}

/** Whether an objective was met is what its check says: more than it may mean that nobody wrote. */
function measurement(report: DrillReport, name: 'RTO' | 'RPO'): Measurement {
  const { objectives = {}, measured = {}, checks } = report;
  const [took, objective] =
    name === 'RTO'
      ? [recoveryTime(report), objectives.rtoSeconds]
      : [measured.rpoSeconds, objectives.rpoSeconds];
  const state = checks.find((check) => check.name === name)?.state;
  const tone = state ? states[state] : toneOf(took, objective);
  return { measured: took, objective, tone };
}

function toneOf(measured: number | undefined, objective: number | undefined): Tone {
  if (objective === undefined) return 'plain';
  if (measured === undefined) return 'open';
  return measured <= objective ? 'good' : 'bad';
}

const states: Readonly<Record<Check['state'], Tone>> = { passed: 'good', failed: 'bad', unproven: 'open' };

function conduct({ report }: ReportDocument): Block {
  const { environment } = report;
  const seconds = (Date.parse(report.finished) - Date.parse(report.started)) / 1000;
  return {
    kind: 'facts',
    rows: [
      ['Operator', given(report.operator)],
      ['Approver', given(report.approver)],
      ['Drill plan', cell(report.plan ?? 'none: run by hand for one backup')],
      ['Started', cell(utc(report.started))],
      ['Finished', cell(`${utc(report.finished)} (${formatDuration(seconds)})`)],
      [
        'Environment',
        environment
          ? cell(
              `${environment.host}, ${environment.os}, ${plural(environment.cpus, 'processor')}, ${formatBytes(environment.memoryBytes)} of memory; a temporary place, removed afterwards`,
            )
          : cell('a temporary place apart from production, removed afterwards'),
      ],
      ['PostgreSQL server of the drill', given(report.server)],
      [
        'Program',
        cell(
          `Helvino ${report.program}${environment ? `, Node.js ${environment.node.replace(/^v/, '')}` : ''}`,
        ),
      ],
    ],
  };
}

function restored({ report, backup, dataset }: ReportDocument): Block[] {
  const { target } = report;
  const reached = target && [
    target.lsn && `WAL position ${target.lsn}`,
    target.time && utc(target.time),
    target.timeline && `timeline ${target.timeline}`,
    target.xid && `transaction ${target.xid}`,
  ];
  const facts: Block = {
    kind: 'facts',
    rows: [
      ['Backup', code(backup.id)],
      ['Kind', cell(`${backup.kind}${backup.label ? `, label ${backup.label}` : ''}`)],
      ['Taken', cell(`${utc(backup.started)} to ${utc(backup.finished)}, by Helvino ${backup.program}`)],
      [
        'Taken from',
        given(
          backup.source &&
            `${backup.source}${backup.sourceVersion ? `, PostgreSQL ${backup.sourceVersion}` : ''}`,
        ),
      ],
      ...(backup.systemId ? [['System identifier', code(backup.systemId)] as const] : []),
      ['Size', cell(`${formatBytes(backup.bytes)} in ${plural(backup.files, 'file')}`)],
      ['Read from', cell(`repository ${backup.repository}${report.copy ? `, copy ${report.copy}` : ''}`)],
      ...(target ? [['Recovery target', cell(target.asked)] as const] : []),
      ...(reached ? [['Reached', cell(reached.filter(Boolean).join(', '))] as const] : []),
      ['Content identity (SHA-256)', code(backup.contentSha256)],
    ],
  };
  if (dataset.databases.length === 0) {
    const text = dataset.problem
      ? `What the backup recorded of its tables cannot be read: ${dataset.problem}.`
      : 'The backup recorded no tables.';
    return [facts, { kind: 'text', text }];
  }
  return [
    facts,
    {
      kind: 'table',
      head: [
        { title: 'Dataset' },
        { title: 'Tables', right: true },
        { title: 'Rows at the source', right: true },
      ],
      rows: dataset.databases.map(({ name, tables, rows }) => [
        code(name),
        cell(String(tables)),
        cell(grouped(rows)),
      ]),
    },
  ];
}

/** `1234567` as `1 234 567`, with narrow spaces that do not break. */
function grouped(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

function objectives(report: DrillReport): Block[] {
  const { prediction } = report;
  const rto = recoveryTime(report);
  const row = (name: string, { measured, objective, tone }: Measurement): Cell[] => {
    const open = measured === undefined ? 'not measured' : 'not known';
    const words = { good: 'met', bad: 'missed', open, plain: 'no objective is set' };
    return [
      cell(name),
      cell(objective === undefined ? '–' : formatDuration(objective)),
      cell(measured === undefined ? 'not measured' : formatDuration(Math.max(0, measured))),
      cell(objective !== undefined && measured !== undefined ? percentOf(measured, objective) : '–'),
      cell(words[tone], tone),
    ];
  };
  const blocks: Block[] = [
    {
      kind: 'table',
      head: [
        { title: '' },
        { title: 'Objective', right: true },
        { title: 'Measured', right: true },
        { title: 'Of objective', right: true },
        { title: 'Result' },
      ],
      rows: [
        row('Recovery time (RTO)', measurement(report, 'RTO')),
        row('Recovery point (RPO)', measurement(report, 'RPO')),
      ],
    },
    {
      kind: 'text',
      text: 'Recovery time runs from the start of the drill until the database, and the application where one is part of the plan, answered. Recovery point is the moment that was wanted minus the newest commit that was found after recovery.',
    },
  ];
  if (prediction) {
    const error = rto === undefined ? undefined : predictionError(prediction.rtoSeconds, rto);
    blocks.push({
      kind: 'text',
      text: `Predicted before the drill: ${formatDuration(prediction.rtoSeconds)}, from ${prediction.basis}. ${error === undefined ? 'The recovery time was not measured.' : `The prediction was ${Math.abs(Math.round(error * 100))}\u00a0% ${error >= 0 ? 'above' : 'below'} what was measured.`}`,
    });
  }
  return blocks;
}

function percentOf(measured: number, objective: number): string {
  const percent = (measured / objective) * 100;
  return `${percent < 1 ? '<\u00a01' : Math.round(percent)}\u00a0%`;
}

function phases({ phases: all = [] }: DrillReport): Section[] {
  if (all.length === 0) return [];
  const longest = Math.max(...all.map(({ seconds }) => seconds), 0.001);
  const rows = all.map(({ name, seconds, bytes, requests }): Cell[] => [
    cell(name),
    { text: '', part: seconds / longest },
    cell(formatDuration(seconds)),
    cell(bytes === undefined ? '' : formatBytes(bytes)),
    cell(requests === undefined ? '' : String(requests)),
  ]);
  const head = [
    { title: 'Phase' },
    { title: '' },
    { title: 'Time', right: true },
    { title: 'Read', right: true },
    { title: 'Requests', right: true },
  ];
  return [{ title: 'Phases', blocks: [{ kind: 'table', head, rows }] }];
}

function checks(report: DrillReport): Block[] {
  const table: Block = {
    kind: 'table',
    head: [
      { title: 'Result' },
      { title: 'Check' },
      { title: 'What was found' },
      { title: 'Time', right: true },
    ],
    rows: report.checks.map(({ name, state, detail, seconds }) => [
      cell(state, states[state]),
      cell(name),
      cell(detail),
      cell(seconds > 0 ? formatDuration(seconds) : ''),
    ]),
  };
  const asked = report.checks.flatMap(({ name, queries = [] }) =>
    queries.map(({ sql, result }): Cell[] => [cell(name), code(sql), code(result)]),
  );
  if (asked.length === 0) return [table];
  return [
    table,
    { kind: 'text', text: 'Queries that were run on the restored database, with their answers:' },
    {
      kind: 'table',
      head: [
        { title: 'Check', width: 21 },
        { title: 'Query', width: 55 },
        { title: 'Answer', width: 24 },
      ],
      rows: asked,
    },
  ];
}

function issues(report: DrillReport, retests: readonly Retest[]): Block[] {
  const own = report.checks.flatMap(({ name, state, detail, findings = [] }) =>
    state === 'passed' ? [] : [`${name} (${state}): ${detail}`, ...findings.map((one) => `${name}: ${one}`)],
  );
  // What the record calls a finding is in most cases a check that failed: that is said above, with more.
  const known = new Set(report.checks.map(({ name, detail }) => `${name}: ${detail}`));
  const more = (report.issue?.findings ?? []).filter((one) => !known.has(one));
  const found = [...new Set([...own, ...more])];
  const needed = report.verdict !== 'proven';
  const retest = retests.map(({ id, verdict, finished }) => `drill ${id} of ${utc(finished)}: ${verdict}`);
  return [
    found.length === 0 ? { kind: 'text', text: 'Nothing was found.' } : { kind: 'list', items: found },
    {
      kind: 'facts',
      rows: [
        [
          'Remediation',
          report.issue?.remediation
            ? cell(report.issue.remediation)
            : cell(needed ? 'not recorded' : 'none needed', needed ? 'open' : undefined),
        ],
        [
          'This drill repeats',
          report.issue?.retestOf ? code(report.issue.retestOf) : cell('no earlier drill'),
        ],
        [
          'Repeated by',
          retest.length > 0
            ? cell(retest.join('; '))
            : cell(needed ? 'not yet' : 'not needed', needed ? 'open' : undefined),
        ],
      ],
    },
  ];
}

function cadence({ report, cadenceSeconds, previous }: ReportDocument): Block {
  return {
    kind: 'facts',
    rows: [
      [
        'Objective',
        cadenceSeconds === undefined
          ? notRecorded
          : cell(`a proven restore at least every ${formatAge(cadenceSeconds)}`),
      ],
      ...(cadenceSeconds === undefined
        ? []
        : [
            [
              'Next drill due by',
              cell(utc(new Date(Date.parse(report.finished) + cadenceSeconds * 1000).toISOString())),
            ] as const,
          ]),
      ['Report before this one', previous ? code(previous.id) : cell('none: this is the first')],
      ...(previous ? [['Its SHA-256', code(previous.sha256)] as const] : []),
      [
        'Controls',
        cell('ISO/IEC 27001:2022 A.8.13 (information backup) · SOC 2 A1.2, A1.3, CC7.5 (recovery is tested)'),
      ],
    ],
  };
}

function integrity({ document, signature, sha256 }: SignedReport): Block[] {
  const { id, database } = document.report;
  const file = reportFile(database, id);
  const facts: Block = {
    kind: 'facts',
    rows: [
      ['Record', code(`${file}.json`)],
      ['SHA-256 of the record', code(sha256)],
      [
        'Signature (Ed25519)',
        signature
          ? code(signature.toString('base64'))
          : cell('not signed: the host had no signing key', 'open'),
      ],
      ...(document.key ? [['Public key id', code(document.key)] as const] : []),
    ],
  };
  const says: Block = {
    kind: 'text',
    text: 'This page is made from that record and adds nothing to it. The record, its signature and the public key are enough to check it, offline, with Helvino or with OpenSSL 3 alone:',
  };
  if (!signature) return [facts];
  return [
    facts,
    says,
    {
      kind: 'code',
      text: [
        `helvino drill verify-report ${file}.json --key drill-key.pem`,
        `openssl pkeyutl -verify -pubin -inkey drill-key.pem -rawin -in ${file}.json -sigfile ${file}.sig`,
        `sha256sum ${file}.json`,
      ].join('\n'),
    },
  ];
}

/** Without an ending. */
export function reportFile(database: string, id: string): string {
  return `drill-${database}-${id}`;
}

/** Control characters, and those that turn the direction of text, as `\\u202e`: a name must not hide what it is. */
export function visible(text: string): string {
  return text.replace(
    /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
