import { itSurvivesCrashes } from './explored.js';

itSurvivesCrashes('mirror', 30_000);
