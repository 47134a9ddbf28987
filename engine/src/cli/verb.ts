/** What a verb is. */
import type { CliContext } from './context.ts';

export interface VerbOption {
  /** As commander writes them: `--label <text>`, `--full`, `--note <key=value...>`. */
  readonly flags: string;
  readonly description: string;
  readonly default?: string;
  readonly choices?: readonly string[];
}

export interface VerbArgument {
  /** `<backup>` needed, `[backup]` optional. */
  readonly name: string;
  readonly description: string;
}

export type OptionValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export interface VerbResult {
  /** What --json prints as `result`. */
  readonly data: unknown;
  /** What people read; lines. */
  readonly text: readonly string[];
  /** Exit status, if not 0: a verdict, not an error. */
  readonly exit?: number;
}

export interface Verb {
  /** `backup`; `key add` for a verb under another. */
  readonly name: string;
  readonly summary: string;
  /** Lines of paragraphs for the help and the reference page; an empty one is between two paragraphs. */
  readonly details?: readonly string[];
  readonly arguments?: readonly VerbArgument[];
  readonly options?: readonly VerbOption[];
  readonly examples: readonly string[];
  /** Further exit statuses than 0 and those of the error codes. */
  readonly exits?: readonly { readonly status: number; readonly meaning: string }[];
  run(context: CliContext, options: OptionValues, args: readonly (string | undefined)[]): Promise<VerbResult>;
}

export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

export function listOption(options: OptionValues, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value : typeof value === 'string' ? [value] : [];
}
