import { itSurvivesCrashes } from './explored.js';

itSurvivesCrashes('core', 70_000);
