import { itSurvivesCrashes } from './explored.js';

itSurvivesCrashes('clone', 30_000);
