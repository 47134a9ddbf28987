/**
 * Reports of drills: what was found, as evidence. A report is a record in canonical JSON with an Ed25519 signature over its
 * bytes; pages, texts and PDFs are made from it and say nothing else. Invariants: a report is signed once, when the drill
 * ends, never later; it names the one before it; it stays in the repository when its backup goes.
 */

export { verifyReport } from './document.ts';
export { collectEvidence } from './evidence.ts';
export { bundleName, makeBundle, verifyBundle } from './evidence-bundle.ts';
export { openPoints } from './evidence-page.ts';
export { foretell } from './foretell.ts';
export { type EvidenceOptions, keepReport } from './keep-report.ts';
export { chooseDrill, type KnownDrill, knownDrills } from './known-drills.ts';
export { measureOf, predictionError, predictRecovery } from './prediction.ts';
export {
  createSigningKey,
  type PublicKey,
  readPublicKey,
  readSigningKey,
  signingKeyFile,
} from './signing-key.ts';
export { type ReportFormat, reportFormats, writeReport } from './write-report.ts';
