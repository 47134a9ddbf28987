/** Findings about a server for people. */
import type { Finding } from '../../operations/setup/index.ts';

export function findingsText(findings: readonly Finding[]): string[] {
  const words = { good: 'good   ', advice: 'advice ', missing: 'MISSING' } as const;
  return findings.flatMap((finding) => [
    `${words[finding.state]}  ${finding.name}: ${finding.detail}`,
    ...(finding.hint && finding.state !== 'good' ? [`         ${finding.hint}`] : []),
  ]);
}
