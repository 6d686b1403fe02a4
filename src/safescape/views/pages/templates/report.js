"use strict";
// Begins the page of a run.

function begin() {
  if (!curves.length) return;
  beginAnswers();
  beginPinned();
  beginKeys();
  beginMaps();
  beginJudges();
  goTo(origin ?? curves[0].measured[0].point);
  paintMaps();
  showJudges();
}

begin();
drawLandscape();
follow();
