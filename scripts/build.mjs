// `npm run build`: dist/ from src/, when a source changed.
import { ensureBuilt } from './ready.mjs';

ensureBuilt();
